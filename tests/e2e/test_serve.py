"""Runs in a browser, by a process that serves them: no error, all dies seen, wide and narrow, light and dark, live."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labctl.core.die_state import State
from labctl.storage.locks import hold
from labctl.storage.run_log import Runlog
from tests.browser import BRIGHT, NEEDS_BROWSER, SEEN, Browser
from tests.waiting import PATIENCE, until

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
pytestmark = [pytest.mark.slow, *NEEDS_BROWSER]


@pytest.fixture(scope="module")
def served(night: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the page of two runs, of which one goes on, and their folder."""
    folder = tmp_path_factory.mktemp("served")
    for name, stage in (("going", "kill"), ("ended", "end")):
        shutil.copytree(night(stage), folder / name)
    command = [sys.executable, "-m", "labctl", "serve", str(folder), "--port", "0"]
    with hold(folder / "going", "labctl run night.yaml"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert "http://" in line, line
            yield line.split()[-1], folder
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=PATIENCE)
            assert (process.returncode, rest) == (0, ""), "^C ends the page, and it has told nothing else"
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_page_fits_and_loads_nothing_from_elsewhere(
    browser: Browser, served: tuple[str, Path], width: int, dark: bool
) -> None:
    url, _ = served
    for path, dies in (("", 0), ("runs/going", 7), ("runs/ended", 7), ("runs/ended#die-B", 7)):
        browser.open(url + path, width=width, dark=dark)
        assert browser.ask("document.querySelector('h1').textContent") != ""
        if "#" in path:
            until(lambda: browser.ask("document.querySelector('#one-die .chart') !== null"))
        assert browser.ask(SEEN) == dies
        assert browser.ask("document.documentElement.scrollWidth") <= width
        bright = browser.ask(BRIGHT)
        assert bright < 60 if dark else bright > 200
        assert browser.complaints() == []
        assert all(one.startswith((url, "data:")) for one in browser.loaded())


def test_what_happens_in_the_run_is_seen_and_what_was_chosen_stays(browser: Browser, served: tuple[str, Path]) -> None:
    url, folder = served
    browser.open(f"{url}runs/going", width=1280)
    assert "still running" in browser.ask("document.querySelector('#head').textContent")
    browser.ask("document.querySelector('input[name=map][value=r_p]').click()")
    browser.ask("document.querySelectorAll('table.sortable th button')[1].click()")
    with Runlog.open(folder / "going") as log:
        log.set_state("D", State.LIMIT_STOP, 1, "too many shorts", seconds=9.0, bin="limit", hard=6)
    bins = "document.querySelector('.panel[data-map=bin]').innerHTML"
    until(lambda: "D: limit (too many shorts)" in browser.ask(bins))
    assert browser.ask("document.querySelector('.panel:not([hidden])').dataset.map") == "r_p"
    assert browser.ask("document.querySelectorAll('table.sortable th[aria-sort]').length") == 1
    assert browser.complaints() == []


def test_a_die_that_could_not_be_asked_for_is_asked_for_again(browser: Browser, served: tuple[str, Path]) -> None:
    url, _ = served
    browser.call("Network.setBlockedURLs", urls=["*/dies/*"])
    browser.open(f"{url}runs/ended#die-B", width=1280)
    one = "document.querySelector('#one-die').textContent"
    until(lambda: "B: no connection." in browser.ask(one))
    browser.call("Network.setBlockedURLs", urls=[])
    browser.ask("document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: browser.ask("document.querySelector('#one-die .chart') !== null"))
