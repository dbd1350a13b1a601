"""Every event is a class; what it writes is what it reads."""

import json
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import (
    Alarm,
    Approached,
    DieEvent,
    DieMoved,
    Event,
    Level,
    RunEnded,
    RunEvent,
    StageEnded,
    StageStarted,
    UnknownEvent,
    VisitBegun,
    parse,
)
from labctl.core.exit_codes import Status
from labctl.storage.arrays import decode, encode

DECLARED = [*RunEvent.kinds.values(), *DieEvent.kinds.values()]


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return values of the type of a field."""
    origin, parameters = get_origin(hint), get_args(hint)
    if hint is Any:
        return st.none() | st.integers(-5, 5)
    if NoneType in parameters:
        return st.none() | values(next(p for p in parameters if p is not NoneType))
    if origin is tuple:
        if parameters[-1] is Ellipsis:
            return st.lists(values(parameters[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, parameters))
    if origin is Mapping:
        return st.dictionaries(st.sampled_from(["r_p", "tmr", "smu1.smua"]), values(parameters[1]), max_size=3)
    if hint is float:
        return st.floats(allow_nan=False)
    if hint is str:
        return st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
    return st.from_type(hint)


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(DECLARED))
    hints = {n: h for n, h in get_type_hints(kind).items() if n not in ("kind", "whole", "kinds")}
    return kind(**{name: draw(values(hint)) for name, hint in hints.items()})


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and vars(a) == vars(b)


@given(events())
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    family = RunEvent if isinstance(event, RunEvent) else DieEvent
    text = encode(event.body, lambda array, path: {})
    assert same(parse(family, event.kind, decode(text, dict)), event)


def test_fields_at_their_default_are_not_written() -> None:
    assert Alarm(text="hot").body == {"text": "hot"}
    assert DieMoved(die="A", state=State.DONE, exit_code=0, hard=0).body == {
        "die": "A",
        "state": State.DONE,
        "exit_code": 0,
        "hard": 0,
    }
    assert StageEnded(outcome=Status.SUCCESS, pulses_per_cell=np.ones((2, 3))).body.keys() == {
        "pulses_per_cell",
        "outcome",
    }


def test_an_event_may_be_its_only_field() -> None:
    assert StageStarted(settings={"v_read": 0.1}).body == {"v_read": 0.1}
    assert parse(DieEvent, "approached", {"touches": 2}) == Approached(notes={"touches": 2})


def test_an_unknown_kind_is_kept() -> None:
    assert parse(RunEvent, "weather", {"t": 21.5}) == UnknownEvent("weather", {"t": 21.5})
    assert parse(DieEvent, "alarm", None) == UnknownEvent("alarm")  # a kind of the other family
    assert parse(RunEvent, "alarm", {"text": "hot", "colour": "red"}) == Alarm(text="hot")


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("alarm", {}, "the event 'alarm' has no 'text'"),
        ("alarm", None, "the event 'alarm' holds None, expected fields by name"),
        ("alarm", {"text": 3}, "'alarm.text' of an event is 3"),
        ("alarm", {"text": "hot", "level": "loud"}, "'alarm.level' of an event is 'loud'"),
        ("visit", {"die": "G@1", "at": [1, 2, 3]}, r"'visit.at' of an event is \[1, 2, 3\]"),
        ("visit", {"die": "G@1", "at": [1, "2"]}, r"'visit.at\[1\]' of an event is '2'"),
        ("golden", {"die": "G@1", "ok": 1, "text": ""}, "'golden.ok' of an event is 1"),
        ("golden", {"die": "G@1", "ok": True, "text": "", "drift": {"r_p": "x"}}, "'golden.drift.r_p' of an event"),
        ("ended", {"outcome": "success", "exit_code": True}, "'ended.exit_code' of an event is True"),
    ],
)
def test_what_is_not_the_event_is_refused(kind: str, body: Any, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        parse(RunEvent, kind, body)


def test_numbers_are_read_as_they_are_declared() -> None:
    assert parse(RunEvent, "ended", json.loads('{"outcome": "fail", "exit_code": 5, "seconds": 2}')) == RunEnded(
        outcome=Status.FAIL, exit_code=5, seconds=2.0
    )
    assert parse(RunEvent, "visit", {"die": "G@1", "at": [3, 7], "dies": ["A"]}) == VisitBegun(
        die="G@1", at=(3, 7), dies=("A",)
    )
    assert parse(RunEvent, "alarm", {"text": "t", "level": "note"}) == Alarm(text="t", level=Level.NOTE)


def test_every_event_says_what_it_is() -> None:
    assert len(DECLARED) == len({*DECLARED})
    for kind in DECLARED:
        assert (kind.__doc__ or "").strip().endswith("."), kind
        assert kind.kind == kind.kind.lower()
