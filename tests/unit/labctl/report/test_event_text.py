"""Rows of a run's journal in operator words."""

from typing import Any

import pytest

from labctl.report.event_text import event, new_run
from labctl.storage.journal_reader import Entry, Stamp
from tests.declared import FIGURES

SAID = [
    ("state", {"die": "D1", "state": "moving", "try": 1}, ("die", "D1", "moving")),
    (
        "state",
        {"die": "D1", "state": "done", "try": 2, "bin": "good", "rule": "fine", "figures": {"fidelity": 0.98}},
        ("die", "D1", "done, try 2, bin good (fine); write fidelity 98.00 %"),
    ),
    (
        "state",
        {"die": "D1", "state": "error", "try": 1, "reason": "boom\nTraceback", "bin": "error"},
        ("warning", "D1", "error: boom"),
    ),
    ("step", {"die": "D1", "stage": "survey", "try": 1}, ("die", "D1", "procedure survey")),
    ("alarm", {"text": "hot", "level": "warning", "die": "D1"}, ("warning", "D1", "hot")),
    ("alarm", {"text": "hot", "level": "unheard of"}, ("alarm", "", "hot")),
    ("asked", {"what": "stop", "by": "ana"}, ("decision", "", "ana asked to stop at the next safe point")),
    (
        "asked",
        {"what": "off", "by": "ana@lab3", "reason": "needles"},
        ("warning", "", "ana@lab3 switched the bench off: needles"),
    ),
    ("safed", {"met": {"smu1.smua": "on at 0.1 V"}, "text": "met with it"}, ("warning", "", "met with it")),
    ("safed", {"met": {}, "text": "met at rest"}, ("note", "", "met at rest")),
    ("rule", {"rule": "contact", "text": "3 in a row"}, ("alarm", "", "stop rule 'contact': 3 in a row")),
    (
        "golden",
        {"die": "G@1", "drift": {"r_p": 0.051}, "ok": False},
        ("warning", "G@1", "golden die has drifted: r_p +5.10%"),
    ),
    ("suspect", {"dies": ["D1"], "text": "why"}, ("warning", "D1", "in doubt: D1; why")),
    ("suspect", {"dies": ["D1", "D2"], "text": "why"}, ("warning", "", "in doubt: D1, D2; why")),
    (
        "watchdog",
        {"what": "safe", "seconds": 0.25},
        ("note", "", "the bench was made safe: outputs at 0 V and off, relays open, read back (250 ms later)"),
    ),
    ("watchdog", {"what": "unsafe"}, ("alarm", "", "THE BENCH COULD NOT BE VERIFIED SAFE: go there")),
    ("clock", {"step": -3600.0}, ("warning", "", "the clock jumped by -3600.0 s")),
    (
        "resumed",
        {"only": ["D1"], "accepted": ["file a changed"], "reason": "power"},
        (
            "decision",
            "",
            "the run is taken up again, of it only D1: power; accepted although changed: file a changed",
        ),
    ),
    ("ended", {"exit": 0, "outcome": "success"}, ("note", "", "run finished; no die is bad")),
    (
        "ended",
        {"exit": 6, "reason": "SMU 1"},
        ("alarm", "", "run OUTPUTS COULD NOT BE VERIFIED OFF: go to the bench: SMU 1"),
    ),
    ("weather", {"temperature": 21.5}, ("note", "", "weather: temperature 21.5")),
    ("weather", None, ("note", "", "weather")),
]


@pytest.mark.parametrize(("kind", "body", "said"), SAID)
def test_every_kind_of_row(kind: str, body: Any, said: tuple[str, str, str]) -> None:
    assert event(Entry(1, "", kind, body, Stamp(0.0, 0.0)), FIGURES) == said


def test_a_command_is_quoted_and_names_no_old_folder() -> None:
    argv = ["/a/labctl", "run", "my file.yaml", "--out=x", "--only", "D9", "--seed", "7"]
    assert new_run(argv, ["D1"]) == "labctl run 'my file.yaml' --seed 7 --only D1"
