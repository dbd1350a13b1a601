"""A die on a board: the board is told which die it has, and left with every line off.

Where dies are exchanged by hand, a person is asked for each, and what the die is called, read by the board, typed or
scanned, has to be the name that the run has for it. Meanwhile every line is off, and a board that can release its die
(`Releasing`) gives it no power; another one, such as an ArC TWO, stays powered with its lines at ground.

Where the lines of the board end at the needles of a prober, dies are approached as on a bench of sources: needles move
while the board is off, and a die is used when the board has read that every line touches. What a die says of itself is
compared then.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from instruments.board_bench import Exchange
from instruments.board_needles import BoardNeedles
from instruments.fiducial import FiducialResult, LineGround, fits
from instruments.manual_prober import TypeIn
from instruments.open_board import OpenBoard
from labctl.core.board import Identifying, Releasing
from labctl.core.body import ReadyDie, Say, _quiet
from labctl.core.die_state import State
from labctl.core.errors import ContactError, LabError, LeftUnverified
from labctl.core.fiducial import Fiducial
from labctl.core.prober import Compensated, Prober
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.core.units import Second
from labctl.station.bench_session import AnyTwin
from labctl.station.prober_session import ProberSession
from labctl.station.simulated import VISIT
from labctl.storage.stress_ledger import StressLedger

ASKED = 3
"""How often a person is asked for a die."""


class OnBoard(ProberSession[OpenBoard]):
    """A board or its twin; leaving the context makes it safe.

    Args:
        twin: None for the real board.
        type_in: has a person type or scan what a die is called; unused on a twin, which exchanges dies by itself.
        by_hand: the die that is on the board is used, none is asked for, and nothing moves.
        ledger: counts every touch over the lives of dies; None for simulated dies, and without a prober.
    """

    def __init__(
        self,
        opened: OpenBoard,
        twin: AnyTwin | None,
        *,
        type_in: TypeIn = lambda question: "",
        by_hand: bool = False,
        ledger: StressLedger | None = None,
    ) -> None:
        super().__init__(opened, time.sleep if twin is None else twin.wait, ledger)
        self.twin, self._type_in, self._by_hand = twin, type_in, by_hand
        self.anew = twin is not None
        """Whether the next die is as it was made, as the die of a new twin is."""
        self._exchanged = opened.bench.exchange is Exchange.BY_HAND and not by_hand
        self._on: str | None = None
        """What the die on the board is called; None before the first was asked for."""

    def _footing(self) -> BoardNeedles:
        assert self.opened.needles is not None, "a board with a prober has needles"
        return self.opened.needles

    @property
    def rebuild(self) -> Rebuild:
        """A real die keeps its cells; the cells of a new twin are made anew."""
        return Rebuild.STATES if self.anew else Rebuild.NOTHING

    @property
    def patience(self) -> Second:
        """Longest time of an approach, s; infinite where a person exchanges dies or moves the needles."""
        asks = self._exchanged and self.twin is None
        return math.inf if asks or getattr(self.opened.prober, "by_hand", False) else self._moved_patience()

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Return the die of the board as `subject`.

        Raises:
            BenchError: it is of another shape.
            ContactError: a person was asked for it, and another one, or none, was put on the board; or a line does not
                touch after the touches that are allowed, or another die is under the needles.
        """
        description = subject.description
        self.opened.bench.fits(description.shape)
        opened = self.opened
        record: dict[str, Any] = {"identities": dict(opened.identities), "calibrations": dict(opened.calibrations)}
        if self._exchanged:
            say(State.MOVING)
            record["die_id"] = self._exchange(subject)
        die = opened.turn_to(description.nominal, description.polarity)
        ready = ReadyDie(die, record, warnings=opened.warnings)
        if (prober := opened.prober) is not None:
            needles, proved = self._footing(), True
            if self._by_hand:
                proved = under_needles(prober, needles, record)
            else:
                self._touch(subject, prober, say, record)
                self._recognise(subject, prober, record)
            ready = replace(ready, prove=needles.check_contact if proved else None)
        if self.twin is None:
            return ready
        twin, spot, first = self.twin, subject.spot, subject.visit << VISIT
        return replace(
            ready,
            truth=partial(twin.truth, spot),
            seek=lambda number: twin.seek(spot, first + number),
            seek_ahead=lambda number: twin.seek_ahead(spot, first + number),
        )

    def _recognise(self, subject: Site, prober: Prober, record: dict[str, Any]) -> None:
        """Compare what the die under the needles says of itself, if its board reads it; ContactError if another."""
        if isinstance(board := self.opened.board, Identifying):
            self.opened.permit()  # reading what a die is called gives it power
            met = board.die_id()
            if met != subject.serial:
                raise ContactError(
                    f"{prober.name}: die {subject.serial} was to be under the needles, and it says it is '{met}'; look "
                    "whether the map lies where the prober has it"
                )
            record["die_id"] = {"name": met, "by": "read by the board"}

    def prove(self, fiducials: Sequence[Fiducial], subjects: Sequence[Site]) -> list[FiducialResult]:
        """Verify at fiducials that the map lies where the prober assumes it: at each all lines of a die touch, or none.

        The measurements are recorded with the first die that is approached.

        Args:
            subjects: all dies of the wafer, tested or not.

        Raises:
            BenchError: it does not, or the bench has no prober.
            ContactError: no place that has a die conducts.
            InstrumentError: the chuck does not settle, or an instrument did not answer as expected.
        """
        opened, description = self.opened, subjects[0].description
        fits(opened.bench, fiducials)
        assert opened.prober is not None, "fiducials are refused without a prober"
        opened.turn_to(description.nominal, description.polarity)
        self._prove(LineGround(self._footing()), opened.prober, fiducials, subjects)
        return self._fiducials

    def _exchange(self, subject: Site) -> dict[str, str]:
        """Have `subject` put on the board, unless it is there; return what it is called, and how that is known."""
        board, name = self.opened.board, subject.serial
        if self._on == name:
            return {"name": name, "by": "is on the board"}
        self._on, reads = None, isinstance(board, Identifying)
        met = ""
        for _ in range(ASKED):
            self.opened.off()
            if isinstance(board, Releasing):
                board.release()
            if self.twin is not None:
                given = self.twin.insert(subject.spot)
            else:
                given = self._type_in(_question(met, name, reads)).strip()
                if not given:
                    break
            if isinstance(board, Identifying):
                self.opened.permit()  # reading what a die is called gives it power
                met = board.die_id()
            else:
                met = given
            if met == name:
                self._on = name
                return {"name": name, "by": "read by the board" if reads else "typed"}
        wrong = f"it says it is '{met}'" if met else "no die was put on the board"
        raise ContactError(f"die {name} was asked for, and {wrong}")

    def leave(self) -> None:
        """Switch every line off, verified, and lift the needles, by hand not."""
        self.opened.off()
        if not self._by_hand:
            self._lift()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.opened.__exit__(kind, error, trace)
        except LabError as unsafe:
            raise LeftUnverified(f"the board is left as it is, and was not verified safe: {unsafe}") from unsafe
        finally:
            if self._ledger is not None:
                self._ledger.close()
            if self.twin is not None:
                self.twin.close()


def under_needles(prober: Prober, needles: BoardNeedles, record: dict[str, Any]) -> bool:
    """Check the contact of the die that is under the needles, which do not move; write it down.

    If the chuck is at contact height, lines that do not touch are only recorded; off contact height, as on a
    compensated station, they mean that there is no contact.

    Returns:
        whether every line touches.

    Raises:
        ContactError: the needles are up, or do not touch off contact height.
    """
    if not prober.in_contact():
        raise ContactError(
            f"{prober.name}: the needles are not in contact. By hand nothing moves; put them down, then try again"
        )
    record["by_hand"] = True
    try:
        record["contact_resistance"] = dict(needles.check_contact())
    except ContactError as error:
        if isinstance(prober, Compensated) and not prober.at_contact_height():
            raise
        record["no_contact"] = str(error)
        return False
    return True


def _question(met: str, name: str, reads: bool) -> str:
    """Return what a person is asked.

    Args:
        met: what the die that was put on the board before is called, "" if none was.
        reads: the board reads what a die is called.
    """
    wrong = f"That is '{met}'. " if met else ""
    then = "type anything when it is there" if reads else "type or scan what stands on it"
    return f"{wrong}Every line is off: put die {name} on the board, and {then} (empty: leave it out)"
