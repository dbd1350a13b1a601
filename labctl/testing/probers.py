"""What every prober promises (`labctl.core.prober.Prober`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labctl.core.errors import InstrumentError
from labctl.core.prober import BinMap, Prober
from labctl.testing.contract import Check, carry_out, refuses, require

Place = tuple[int, int]
"""Column and row on the prober's map."""


@dataclass(frozen=True)
class ProberUnderTest:
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
        """Return a driver that is connected, and the list to which its permit adds a word for each call."""
        prober, calls = self.make(), list[str]()
        prober.connect()
        prober.permit = lambda: calls.append("off?")
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


def connecting_moves_nothing(subject: ProberUnderTest) -> None:
    """Connecting reads, moves nothing and returns the identity, also twice."""
    first, _ = subject.connected()
    first.step(*subject.places[0])
    first.contact()
    second = subject.make()
    identity = second.connect()
    require(isinstance(identity, str) and identity.strip(), f"the identity is {identity!r}")
    require(second.connect() == identity, "a second connect() tells another identity")
    require(subject.down(second), "the needles were down, and are up after another driver has connected")


def nothing_moves_before_a_permit_is_set(subject: ProberUnderTest) -> None:
    """A driver that was given no permit moves nothing."""
    prober = subject.make()
    prober.connect()
    refuses(prober.contact, "contact before a permit is set")
    refuses(lambda: prober.step(*subject.places[1]), "a step before a permit is set")
    require(not subject.down(prober), "the needles are down")


def a_permit_that_raises_keeps_the_needles_where_they_are(subject: ProberUnderTest) -> None:
    """If the permit raises, the needles neither touch nor lift, and nothing steps."""
    prober, _ = subject.connected()
    prober.step(*subject.places[0])
    prober.permit = _live
    refuses(prober.contact, "contact that the permit forbids")
    require(not subject.down(prober), "the needles are down")
    prober.permit = lambda: None
    prober.contact()
    prober.permit = _live
    refuses(prober.separate, "a separation that the permit forbids")
    refuses(lambda: prober.step(*subject.places[1]), "a step that the permit forbids")
    require(subject.down(prober), "the needles are up")


def every_motion_asks_the_permit(subject: ProberUnderTest) -> None:
    """The permit is called before each motion: step, contact, separation."""
    prober, calls = subject.connected()
    for name, move in (
        ("step", lambda: prober.step(*subject.places[1])),
        ("contact", prober.contact),
        ("separate", prober.separate),
    ):
        before = len(calls)
        move()
        require(len(calls) > before, f"{name} did not call the permit")


def a_step_ends_separated_where_it_was_asked_for(subject: ProberUnderTest) -> None:
    """A step returns the place that was asked for, and ends with the needles up by its own command."""
    prober, _ = subject.connected()
    for place in (*subject.places[:2], subject.places[0]):
        position = prober.step(*place)
        require((position.col, position.row) == place, f"a step to {place} returns {position}")
        require(prober.separated() is True, f"separated() is {prober.separated()!r} after a step")
        require(not subject.down(prober), "the needles are down after a step")


def a_step_lifts_the_needles_first(subject: ProberUnderTest) -> None:
    """A step from contact ends separated."""
    prober, _ = subject.connected()
    prober.step(*subject.places[0])
    prober.contact()
    prober.step(*subject.places[1])
    require(not subject.down(prober), "the needles are down after a step")


def contact_is_contact(subject: ProberUnderTest) -> None:
    """In contact it says so, and is not separated; also if it is asked for twice."""
    prober, _ = subject.connected()
    prober.step(*subject.places[0])
    for _ in range(2):
        prober.contact()
        require(prober.in_contact() is True, f"in_contact() is {prober.in_contact()!r} after contact()")
        require(prober.separated() is False, f"separated() is {prober.separated()!r} after contact()")
        require(subject.down(prober), "the needles are up after contact()")


def separated_is_commanded_and_seen(subject: ProberUnderTest) -> None:
    """Separated means commanded by this driver: not before, and then also if it is asked for twice."""
    prober, _ = subject.connected()
    require(prober.separated() is False, "it is separated before a separation was commanded")
    for _ in range(2):
        prober.separate()
        require(prober.separated() is True, f"separated() is {prober.separated()!r} after separate()")
        require(prober.in_contact() is False, f"in_contact() is {prober.in_contact()!r} after separate()")


def a_place_off_the_map_is_refused(subject: ProberUnderTest) -> None:
    """A step to a place that is not on the map is refused, with the needles up."""
    if (absent := subject.absent) is None:
        return
    prober, _ = subject.connected()
    refuses(lambda: prober.step(*absent), f"a step to {absent}")
    require(not subject.down(prober), "the needles are down")


def closing_moves_nothing(subject: ProberUnderTest) -> None:
    """Ending the conversation leaves the needles where they are, and is harmless twice."""
    prober, _ = subject.connected()
    prober.step(*subject.places[0])
    prober.contact()
    prober.close()
    prober.close()
    again, _ = subject.connected()
    require(subject.down(again), "the needles are up after close()")


def a_bin_on_the_map_moves_nothing(subject: ProberUnderTest) -> None:
    """Where it has a map for bins, a bin is taken with the needles down, without the permit, and nothing moves."""
    prober, calls = subject.connected()
    if not isinstance(prober, BinMap):
        return
    prober.step(*subject.places[0])
    prober.contact()
    before = len(calls)
    prober.set_bin(*subject.places[1], None, 1)
    require(subject.down(prober), "the needles are up after a bin was set")
    require(len(calls) == before, "the permit was asked for a bin, which moves nothing")
    if (absent := subject.absent) is not None:
        refuses(lambda: prober.set_bin(*absent, None, 1), f"a bin at {absent}")


PROBER_CHECKS: tuple[Check[ProberUnderTest], ...] = (
    connecting_moves_nothing,
    nothing_moves_before_a_permit_is_set,
    a_permit_that_raises_keeps_the_needles_where_they_are,
    every_motion_asks_the_permit,
    a_step_ends_separated_where_it_was_asked_for,
    a_step_lifts_the_needles_first,
    contact_is_contact,
    separated_is_commanded_and_seen,
    a_place_off_the_map_is_refused,
    a_bin_on_the_map_moves_nothing,
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
    `ProberUnderTest`.

    Raises:
        ValueError: fewer than two places.
    """
    if len(set(places)) < 2:
        raise ValueError(f"places are {places}; expected at least two")
    subject = ProberUnderTest(make, places, absent, needles)
    carry_out("the prober", PROBER_CHECKS, lambda: subject, ProberUnderTest.rest)
