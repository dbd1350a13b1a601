"""What every prober promises (`labctl.core.prober.Prober`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labctl.core.errors import InstrumentError
from labctl.core.prober import Prober
from labctl.testing.contract import Check, carry_out, refuses, require

Place = tuple[int, int]
"""Column and row on the prober's map."""


@dataclass(frozen=True)
class ProberRig:
    """A prober under test, with nothing energised.

    Args:
        make: returns a new driver for the same instrument, not connected; the needles are up.
        places: at least two that it can go to.
        absent: one that is not on its map; None if it cannot know.
        needles: returns whether the needles are down, by itself; None if only the driver knows.
    """

    make: Callable[[], Prober]
    places: Sequence[Place]
    absent: Place | None = None
    needles: Callable[[], bool] | None = None

    def connected(self) -> tuple[Prober, list[str]]:
        """Return a driver that is connected, and the list to which its guard adds a word for each call."""
        prober, calls = self.make(), list[str]()
        prober.connect()
        prober.guard = lambda: calls.append("off?")
        return prober, calls

    def down(self, prober: Prober) -> bool:
        """Return whether the needles are down."""
        return prober.in_contact() if self.needles is None else self.needles()

    def rest(self) -> None:
        """Lift the needles."""
        prober, _ = self.connected()
        prober.separate()
        prober.close()


def _live() -> None:
    raise InstrumentError("an output is on")


def connecting_moves_nothing(rig: ProberRig) -> None:
    """Connecting reads, moves nothing and returns the identity, also twice."""
    first, _ = rig.connected()
    first.step(*rig.places[0])
    first.contact()
    second = rig.make()
    identity = second.connect()
    require(isinstance(identity, str) and identity.strip(), f"the identity is {identity!r}")
    require(second.connect() == identity, "a second connect() tells another identity")
    require(rig.down(second), "the needles were down, and are up after another driver has connected")


def nothing_moves_before_a_guard_is_set(rig: ProberRig) -> None:
    """A driver that was given no guard moves nothing."""
    prober = rig.make()
    prober.connect()
    refuses(prober.contact, "contact before a guard is set")
    refuses(lambda: prober.step(*rig.places[1]), "a step before a guard is set")
    require(not rig.down(prober), "the needles are down")


def a_guard_that_raises_keeps_the_needles_where_they_are(rig: ProberRig) -> None:
    """If the guard raises, the needles neither touch nor lift, and nothing steps."""
    prober, _ = rig.connected()
    prober.step(*rig.places[0])
    prober.guard = _live
    refuses(prober.contact, "contact that the guard forbids")
    require(not rig.down(prober), "the needles are down")
    prober.guard = lambda: None
    prober.contact()
    prober.guard = _live
    refuses(prober.separate, "a separation that the guard forbids")
    refuses(lambda: prober.step(*rig.places[1]), "a step that the guard forbids")
    require(rig.down(prober), "the needles are up")


def every_motion_asks_the_guard(rig: ProberRig) -> None:
    """The guard is called before each motion: step, contact, separation."""
    prober, calls = rig.connected()
    for name, move in (
        ("step", lambda: prober.step(*rig.places[1])),
        ("contact", prober.contact),
        ("separate", prober.separate),
    ):
        before = len(calls)
        move()
        require(len(calls) > before, f"{name} did not call the guard")


def a_step_ends_separated_where_it_was_asked_for(rig: ProberRig) -> None:
    """A step returns the place that was asked for, and ends with the needles up by its own command."""
    prober, _ = rig.connected()
    for place in (*rig.places[:2], rig.places[0]):
        position = prober.step(*place)
        require((position.col, position.row) == place, f"a step to {place} returns {position}")
        require(prober.separated() is True, f"separated() is {prober.separated()!r} after a step")
        require(not rig.down(prober), "the needles are down after a step")


def a_step_lifts_the_needles_first(rig: ProberRig) -> None:
    """A step from contact ends separated."""
    prober, _ = rig.connected()
    prober.step(*rig.places[0])
    prober.contact()
    prober.step(*rig.places[1])
    require(not rig.down(prober), "the needles are down after a step")


def contact_is_contact(rig: ProberRig) -> None:
    """In contact it says so, and is not separated; also if it is asked for twice."""
    prober, _ = rig.connected()
    prober.step(*rig.places[0])
    for _ in range(2):
        prober.contact()
        require(prober.in_contact() is True, f"in_contact() is {prober.in_contact()!r} after contact()")
        require(prober.separated() is False, f"separated() is {prober.separated()!r} after contact()")
        require(rig.down(prober), "the needles are up after contact()")


def separated_is_commanded_and_seen(rig: ProberRig) -> None:
    """Separated means commanded by this driver: not before, and then also if it is asked for twice."""
    prober, _ = rig.connected()
    require(prober.separated() is False, "it is separated before a separation was commanded")
    for _ in range(2):
        prober.separate()
        require(prober.separated() is True, f"separated() is {prober.separated()!r} after separate()")
        require(prober.in_contact() is False, f"in_contact() is {prober.in_contact()!r} after separate()")


def a_place_off_the_map_is_refused(rig: ProberRig) -> None:
    """A step to a place that is not on the map is refused, with the needles up."""
    if (absent := rig.absent) is None:
        return
    prober, _ = rig.connected()
    refuses(lambda: prober.step(*absent), f"a step to {absent}")
    require(not rig.down(prober), "the needles are down")


def closing_moves_nothing(rig: ProberRig) -> None:
    """Ending the conversation leaves the needles where they are, and is harmless twice."""
    prober, _ = rig.connected()
    prober.step(*rig.places[0])
    prober.contact()
    prober.close()
    prober.close()
    again, _ = rig.connected()
    require(rig.down(again), "the needles are up after close()")


PROBER_CHECKS: tuple[Check[ProberRig], ...] = (
    connecting_moves_nothing,
    nothing_moves_before_a_guard_is_set,
    a_guard_that_raises_keeps_the_needles_where_they_are,
    every_motion_asks_the_guard,
    a_step_ends_separated_where_it_was_asked_for,
    a_step_lifts_the_needles_first,
    contact_is_contact,
    separated_is_commanded_and_seen,
    a_place_off_the_map_is_refused,
    closing_moves_nothing,
)


def check_prober(
    make: Callable[[], Prober],
    places: Sequence[Place],
    absent: Place | None = None,
    *,
    needles: Callable[[], bool] | None = None,
) -> None:
    """Carry out the contract of a prober; ContractError names every check that it breaks.

    Needles move: nothing may be energised, and no die may be under them that is worth something. Arguments as of
    `ProberRig`.

    Raises:
        ValueError: fewer than two places.
    """
    if len(set(places)) < 2:
        raise ValueError(f"places are {places}; expected at least two")
    rig = ProberRig(make, places, absent, needles)
    carry_out("the prober", PROBER_CHECKS, lambda: rig, ProberRig.rest)
