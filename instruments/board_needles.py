"""The needles between a board and its dies: what has to hold before they move, and before anything is driven on them.

They move while the board is verified off and, if it can be (`Releasing`), its die without power: both are asked anew at
every motion. A die on which needles stand is driven when they carried the first voltage, that of the contact check.
"""

from collections.abc import Mapping

from instruments.bench_state import IllegalTransition
from instruments.board_bench import BoardBench, BoardContact
from instruments.board_contact import judged, line_shares
from labctl.core.board import Board, Releasing
from labctl.core.die import Die
from labctl.core.errors import ContactError, ContactUnread
from labctl.core.prober import Prober
from labctl.core.units import Ohm


class BoardNeedles:
    """The needles of a board, for one die after the other (`instruments.touches.Footing`).

    Args:
        prober: moves them; its permit is set here.
    """

    def __init__(self, bench: BoardBench, board: Board, prober: Prober) -> None:
        self._bench, self._board, self._prober = bench, board, prober
        self._die: Die | None = None
        self._landed = False
        """Whether the board is off as far as is known, and was not used since."""
        self._proved = False
        """Whether the needles have carried the first voltage, and did not move since."""
        prober.permit = self._permit_motion

    @property
    def quota(self) -> BoardContact:
        """How often the needles may touch."""
        return self._bench.contact

    def another_die(self, die: Die) -> None:
        """Take another die, behind the limits of the bench; nothing is known of the needles."""
        self._die, self._proved, self._landed = die, False, False

    def land(self) -> None:
        """Have the board off and, if it can be, its die without power, so that needles may move.

        Raises:
            InstrumentError: that is not verified; nothing may move.
        """
        self._landed = False
        self._board.off()
        self._verify_off()
        self._landed = True

    def _verify_off(self) -> None:
        """Have the board verified off; InstrumentError if it is not."""
        self._board.verify_off()
        if isinstance(self._board, Releasing):
            self._board.release()

    def _permit_motion(self) -> None:
        """Permit of the prober: raise unless needles may touch and lift, by what the board reads now."""
        if not self._landed:
            raise IllegalTransition("needles stay where they are: the board is NOT verified off; land first")
        try:
            self._verify_off()
        except BaseException:
            self._landed = False
            raise
        self._proved = False

    def require_contact(self) -> None:
        """Raise unless the needles have carried the first voltage since they may have moved: nothing goes before it.

        Raises:
            IllegalTransition: they have not; nothing was driven.
        """
        if not self._proved:
            name = self._prober.name
            raise IllegalTransition(
                f"{name}: contact was not checked since the needles moved; nothing is driven before"
            )
        self._landed = False

    def check_contact(self) -> Mapping[str, Ohm]:
        """Return the resistances of the lines that conduct least; it is the first voltage after a touch.

        Raises:
            ContactError: a line does not touch, or one conducts behind closed gates.
            ContactUnread: of a line that the board connects there is no valid reading.
        """
        assert self._die is not None, "there is a die"
        self._landed = False
        try:
            shares = line_shares(self._bench, self._die, self._board)
        except (ContactError, ContactUnread) as error:
            raise type(error)(f"{self._prober.name}: {error}") from error
        self._proved = True
        return judged(self._bench, shares, self._prober.name)
