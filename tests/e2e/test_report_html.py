"""The report in a browser: no error, nothing loaded, maps to be seen, light and dark, wide and narrow.

The browser is asked over two pipes in the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.report.html import write_report
from tests.waiting import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
    pytest.mark.skipif(sys.platform == "win32", reason="pipes of the DevTools protocol are numbered files"),
]


class Browser:
    """One headless Chromium with one page."""

    def __init__(self, home: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # the protocol's pipes are the files 3 and 4 of the browser; a shell puts them there
        command = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, str(CHROMIUM), *flags, f"--user-data-dir={home}", "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self.events = b"", 0, list[dict[str, Any]]()
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 16)
            assert data, "the browser is gone"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str, *, width: int, dark: bool = False) -> None:
        self.events.clear()
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Page.navigate", url=url)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next())

    def ask(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Network.loadingFailed")
        return [json.dumps(e["params"]) for e in self.events if e.get("method") in kinds]

    def loaded(self) -> list[str]:
        requests = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [e["params"]["request"]["url"] for e in requests]

    def close(self) -> None:
        try:
            self._session = ""
            self.call("Browser.close")
        finally:
            os.close(self._write)
            os.close(self._read)
            self._process.wait(PATIENCE)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module", params=["start", "kill", "end"])
def report(
    request: pytest.FixtureRequest, night: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = shutil.copytree(night(request.param), tmp_path_factory.mktemp("report") / "run")
    return write_report(folder).as_uri()


SEEN = """[...document.querySelectorAll('.panel:not([hidden]) .map .die rect')].filter(rect => {
    const box = rect.getBoundingClientRect(), style = getComputedStyle(rect);
    return box.width > 20 && box.height > 20 && box.right <= innerWidth && style.visibility === 'visible';
}).length"""
BRIGHT = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_report_opens_without_error_and_loads_nothing(browser: Browser, report: str, width: int, dark: bool) -> None:
    browser.open(report, width=width, dark=dark)
    assert browser.ask("document.querySelector('h1').textContent") != ""
    assert browser.complaints() == []
    assert [url for url in browser.loaded() if not url.startswith("data:")] == [report]
    assert browser.ask(SEEN) == 7
    assert browser.ask("document.documentElement.scrollWidth") <= width
    bright = browser.ask(BRIGHT)
    assert bright < 60 if dark else bright > 200


def test_another_map_is_shown_when_it_is_chosen(browser: Browser, report: str) -> None:
    browser.open(report, width=1280)
    for key in browser.ask("[...document.querySelectorAll('input[name=map]')].map(i => i.value)"):
        browser.ask(f"document.querySelector('input[value={key}]').click()")
        assert browser.ask("document.querySelector('.panel:not([hidden])').dataset.map") == key
        assert browser.ask(SEEN) == 7
    assert browser.complaints() == []


def test_numbers_are_told_under_the_pointer_and_by_the_keyboard(browser: Browser, report: str) -> None:
    browser.open(report, width=1280)
    say = "document.querySelector('.panel:not([hidden]) .say').textContent"
    browser.ask("document.querySelector('.panel:not([hidden]) .die').focus()")
    assert browser.ask(say).startswith("A: ")
    for key, die in (("ArrowRight", "B"), ("ArrowDown", "E"), ("ArrowLeft", "D"), ("ArrowLeft", "D"), ("ArrowUp", "A")):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key)
        assert browser.ask(say).startswith(f"{die}: "), key
    browser.ask("window.die = document.querySelector('.panel:not([hidden]) .die[href=\"#die-F\"]'); 0")
    browser.ask("die.scrollIntoView({ block: 'center' })")
    x, y, wide, high = browser.ask("(b => [b.x, b.y, b.width, b.height])(die.getBoundingClientRect())")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + wide / 2, y=y + high / 2)
    assert browser.ask(say).startswith("F: ")


def test_the_table_sorts_events_are_sifted_and_a_link_opens_its_die(browser: Browser, report: str) -> None:
    browser.open(report, width=1280)
    first = "document.querySelector('table.sortable tbody tr').cells[0].textContent"
    assert browser.ask(first) == "A"
    for _ in range(2):
        browser.ask("document.querySelector('table.sortable th button').click()")
    assert browser.ask(first) == "X"
    shown = "document.querySelectorAll('.events li:not([hidden])').length"
    some = browser.ask(shown)
    browser.ask("document.querySelector('[data-levels^=die]').click()")
    everything = browser.ask("document.querySelectorAll('.events li').length")
    assert browser.ask(shown) == everything >= some
    browser.ask(
        "(s => { s.value = 'no such word'; s.dispatchEvent(new Event('input')); })(document.querySelector('#search'))"
    )
    assert browser.ask(shown) == 0
    browser.ask("document.querySelector('table.sortable a').click()")
    browser.ask("new Promise(done => setTimeout(done, 50))")
    assert browser.ask("document.querySelector('#die-X').open") is True
    assert browser.complaints() == []
