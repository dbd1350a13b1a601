"""Broken probers, one for each check."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from labctl.core.errors import LabError
from labctl.testing.broken.around import Break, Unasked, with_method


def _freely(inner: Any, act: Callable[[], Any]) -> Any:
    """Return the result of `act` with a permit that allows everything."""
    permit, inner.permit = inner.permit, lambda: None
    try:
        return act()
    finally:
        inner.permit = permit


def _lifts_on_connect(inner: Any) -> Any:
    identity = inner.connect()
    _freely(inner, inner.separate)
    return identity


def _touches_and_then_asks(inner: Any) -> None:
    _freely(inner, inner.contact)
    inner.permit()


def _lifts_unasked(inner: Any) -> None:
    _freely(inner, inner.separate)


def _tells_another_place(inner: Any, col: int, row: int, subsite: Any = None) -> Any:
    return replace(inner.step(col, row, subsite), col=col + 1)


def _steps_into_contact(inner: Any, col: int, row: int, subsite: Any = None) -> Any:
    down = inner.in_contact()
    position = inner.step(col, row, subsite)
    if down:
        inner.contact()
    return position


def _always(answer: bool) -> Callable[[Any], bool]:
    return lambda inner: answer


def _goes_anywhere(inner: Any, col: int, row: int, subsite: Any = None) -> Any:
    try:
        return inner.step(col, row, subsite)
    except LabError:
        return None


def _lifts_on_close(inner: Any) -> None:
    _freely(inner, inner.separate)
    inner.close()


def _lifts_to_bin(inner: Any, col: int, row: int, subsite: Any, number: int) -> None:
    _freely(inner, inner.separate)


class _Mapped(with_method("set_bin", _lifts_to_bin)):  # type: ignore[misc]
    """A prober with a map that lifts its needles for a bin."""

    bins_on_map = True


BROKEN_PROBERS: dict[str, Break] = {
    "connecting_moves_nothing": with_method("connect", _lifts_on_connect),
    "nothing_moves_before_a_permit_is_set": Unasked,
    "a_permit_that_raises_keeps_the_needles_where_they_are": with_method("contact", _touches_and_then_asks),
    "every_motion_asks_the_permit": with_method("separate", _lifts_unasked),
    "a_step_ends_separated_where_it_was_asked_for": with_method("step", _tells_another_place),
    "a_step_lifts_the_needles_first": with_method("step", _steps_into_contact),
    "contact_is_contact": with_method("in_contact", _always(False)),
    "separated_is_commanded_and_seen": with_method("separated", _always(True)),
    "a_place_off_the_map_is_refused": with_method("step", _goes_anywhere),
    "a_bin_on_the_map_moves_nothing": _Mapped,
    "closing_moves_nothing": with_method("close", _lifts_on_close),
}
