"""Broken matrices, one for each check."""

from typing import Any

from labctl.core.errors import LabError
from labctl.testing.broken.around import Break, Unasked, with_method


def _opens_on_connect(inner: Any) -> Any:
    identity, permit = inner.connect(), inner.permit
    inner.permit = lambda: None
    inner.route(())
    inner.permit = permit
    return identity


def _moves_and_then_asks(inner: Any, closed: Any) -> None:
    permit, wanted = inner.permit, list(closed)
    inner.permit = lambda: None
    moved = inner.closed() != frozenset(wanted)
    inner.route(wanted)
    inner.permit = permit
    if moved:
        permit()


def _asks_always(inner: Any, closed: Any) -> None:
    inner.permit()
    inner.route(closed)


def _closes_more(inner: Any, closed: Any) -> None:
    inner.route({*closed, *inner.closed()})


def _makes_before_it_breaks(inner: Any, closed: Any) -> None:
    wanted = frozenset(closed)
    inner.route(wanted | inner.closed())
    inner.route(wanted)


def _closes_what_it_has(inner: Any, closed: Any) -> None:
    known: list[str] = []
    unknown: list[str] = []
    for crosspoint in closed:
        try:
            inner.route([*known, crosspoint])
            known.append(crosspoint)
        except LabError:
            unknown.append(crosspoint)
    if unknown or not known:
        inner.route(known)


def _opens_on_close(inner: Any) -> None:
    inner.permit = lambda: None
    inner.route(())
    inner.close()


BROKEN_MATRICES: dict[str, Break] = {
    "connecting_moves_nothing": with_method("connect", _opens_on_connect),
    "nothing_moves_before_a_permit_is_set": Unasked,
    "a_permit_that_raises_keeps_relays_where_they_are": with_method("route", _moves_and_then_asks),
    "the_permit_is_asked_when_something_moves_and_only_then": with_method("route", _asks_always),
    "exactly_the_route_is_closed": with_method("route", _closes_more),
    "relays_open_before_others_close": with_method("route", _makes_before_it_breaks),
    "what_it_does_not_have_is_refused_as_a_whole": with_method("route", _closes_what_it_has),
    "relays_stay_when_it_is_closed": with_method("close", _opens_on_close),
}
