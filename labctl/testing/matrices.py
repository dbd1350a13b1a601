"""What every switch matrix promises (`labctl.core.switch_matrix.Matrix`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labctl.core.errors import InstrumentError
from labctl.core.switch_matrix import Matrix
from labctl.testing.contract import Check, carry_out, refuses, require


@dataclass(frozen=True)
class MatrixUnderTest:
    """A matrix under test, with nothing energised.

    Args:
        make: returns a new driver for the same instrument, not connected; every relay is open.
        crosspoints: at least three that it has.
        absent: one that it does not have.
        moves: returns the sets of closed relays that there have been, in order; None if they cannot be seen.
    """

    make: Callable[[], Matrix]
    crosspoints: Sequence[str]
    absent: str
    moves: Callable[[], Sequence[frozenset[str]]] | None = None

    def connected(self) -> tuple[Matrix, list[str]]:
        """Return a driver that is connected, and the list to which its permit adds a word for each call."""
        matrix, calls = self.make(), list[str]()
        matrix.connect()
        matrix.permit = lambda: calls.append("cold?")
        return matrix, calls

    def rest(self) -> None:
        """Open every relay."""
        matrix, _ = self.connected()
        matrix.route(())
        matrix.close()


def _hot() -> None:
    raise InstrumentError("something is energised")


def connecting_moves_nothing(subject: MatrixUnderTest) -> None:
    """Connecting reads, moves no relay and returns the identity, also twice."""
    first, _ = subject.connected()
    first.route(subject.crosspoints[:2])
    second = subject.make()
    identity = second.connect()
    require(isinstance(identity, str) and identity.strip(), f"the identity is {identity!r}")
    require(second.connect() == identity, "a second connect() tells another identity")
    require(
        second.closed() == frozenset(subject.crosspoints[:2]), f"{sorted(second.closed())} are closed after connect()"
    )


def nothing_moves_before_a_permit_is_set(subject: MatrixUnderTest) -> None:
    """A driver that was given no permit moves no relay."""
    matrix = subject.make()
    matrix.connect()
    refuses(lambda: matrix.route(subject.crosspoints[:1]), "a route before a permit is set")
    require(not matrix.closed(), f"{sorted(matrix.closed())} are closed")


def a_permit_that_raises_keeps_relays_where_they_are(subject: MatrixUnderTest) -> None:
    """If the permit raises, no relay opens or closes."""
    matrix, _ = subject.connected()
    matrix.route(subject.crosspoints[:1])
    matrix.permit = _hot
    refuses(lambda: matrix.route(subject.crosspoints[1:2]), "a route that the permit forbids")
    require(matrix.closed() == frozenset(subject.crosspoints[:1]), f"{sorted(matrix.closed())} are closed")


def the_permit_is_asked_when_something_moves_and_only_then(subject: MatrixUnderTest) -> None:
    """The permit is called before relays move; a route that is there already moves none."""
    matrix, calls = subject.connected()
    matrix.route(subject.crosspoints[:2])
    require(calls, "relays moved, and the permit was not called")
    count = len(calls)
    matrix.route(reversed(subject.crosspoints[:2]))
    require(len(calls) == count, "the permit was called for a route that was there")


def exactly_the_route_is_closed(subject: MatrixUnderTest) -> None:
    """A route closes exactly its relays and opens all others."""
    matrix, _ = subject.connected()
    for wanted in (subject.crosspoints[:2], subject.crosspoints[1:3], subject.crosspoints[:1], ()):
        matrix.route(wanted)
        closed = matrix.closed()
        require(isinstance(closed, frozenset), f"closed() returns {type(closed).__name__}")
        require(closed == frozenset(wanted), f"{sorted(closed)} are closed; {sorted(wanted)} were asked for")


def relays_open_before_others_close(subject: MatrixUnderTest) -> None:
    """From one route to the next, relays open before others close."""
    if subject.moves is None:
        return
    matrix, _ = subject.connected()
    matrix.route(subject.crosspoints[:1])
    before = len(subject.moves())
    matrix.route(subject.crosspoints[1:2])
    both = frozenset(subject.crosspoints[:2])
    require(both not in subject.moves()[before:], f"{sorted(both)} were closed together on the way")


def what_it_does_not_have_is_refused_as_a_whole(subject: MatrixUnderTest) -> None:
    """A route with a relay that it does not have is refused, and none of its relays closes."""
    matrix, _ = subject.connected()
    refuses(lambda: matrix.route([subject.crosspoints[0], subject.absent]), f"the crosspoint '{subject.absent}'")
    require(not matrix.closed(), f"{sorted(matrix.closed())} are closed")


def relays_stay_when_it_is_closed(subject: MatrixUnderTest) -> None:
    """Ending the conversation leaves relays as they are, and is harmless twice."""
    matrix, _ = subject.connected()
    matrix.route(subject.crosspoints[:1])
    matrix.close()
    matrix.close()
    again, _ = subject.connected()
    require(again.closed() == frozenset(subject.crosspoints[:1]), f"{sorted(again.closed())} are closed")


MATRIX_CHECKS: tuple[Check[MatrixUnderTest], ...] = (
    connecting_moves_nothing,
    nothing_moves_before_a_permit_is_set,
    a_permit_that_raises_keeps_relays_where_they_are,
    the_permit_is_asked_when_something_moves_and_only_then,
    exactly_the_route_is_closed,
    relays_open_before_others_close,
    what_it_does_not_have_is_refused_as_a_whole,
    relays_stay_when_it_is_closed,
)


def check_matrix(
    make: Callable[[], Matrix],
    crosspoints: Sequence[str],
    absent: str,
    *,
    moves: Callable[[], Sequence[frozenset[str]]] | None = None,
) -> None:
    """Carry out the contract of a matrix; ContractError names every check that it breaks.

    Relays move: nothing may be energised, and no die connected. Arguments as of `MatrixUnderTest`.

    Raises:
        ValueError: fewer than three crosspoints.
    """
    if len(set(crosspoints)) < 3:
        raise ValueError(f"crosspoints are {crosspoints}; expected at least three")
    subject = MatrixUnderTest(make, crosspoints, absent, moves)
    carry_out("the matrix", MATRIX_CHECKS, lambda: subject, MatrixUnderTest.rest)
