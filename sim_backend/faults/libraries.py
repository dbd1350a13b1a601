"""Faults of a board behind a library of its maker, whose calls are faked: what happens to one message to the board.

Such a board speaks no lines of text, and nothing stands between the driver and the calls. What can go wrong is what the
library makes of it: an error, a panic of its native part, a board that never ends.
"""

from collections.abc import Callable

from sim_backend.emulators.arc_two import ArC2Error, FakeBoard, FakeLibrary, PanicException
from sim_backend.faults.listed import ListedFaults

EMULATORS = ("arc_two",)
"""Emulators of such boards, by name."""
FAILS, PANICS, NEVER_ENDS = "call of the library fails", "library panics", "board never ends"


def _fails(board: FakeBoard) -> None:
    raise ArC2Error("FPGA Error: USB transfer failed")


def _panics(board: FakeBoard) -> None:
    raise PanicException("called `Result::unwrap()` on an `Err` value")


def _never_ends(board: FakeBoard) -> None:
    board.stuck = True


KINDS: dict[str, Callable[[FakeBoard], None]] = {FAILS: _fails, PANICS: _panics, NEVER_ENDS: _never_ends}
"""What each does when a message is sent, of which nothing is carried out then."""


def inject(faults: ListedFaults, name: str, library: object) -> None:
    """Have the faults of a list happen to the messages of a board behind a library, if it is one of these."""
    if not isinstance(library, FakeLibrary):
        return
    board = library.board

    def message() -> None:
        kind = faults.call(name, "execute")
        if kind is not None:
            KINDS[kind](board)

    board.begins = message
