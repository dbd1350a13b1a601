"""The report in a browser: no error, nothing loaded, maps to be seen, light and dark, wide and narrow."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from labctl.report.html import write_report
from tests.browser import BRIGHT, NEEDS_BROWSER, SEEN, Browser

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module", params=["start", "kill", "end"])
def report(
    request: pytest.FixtureRequest, night: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = shutil.copytree(night(request.param), tmp_path_factory.mktemp("report") / "run")
    return write_report(folder).as_uri()


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
