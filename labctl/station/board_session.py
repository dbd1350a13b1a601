"""A die on a board: nothing moves, the board is told which die it has, and left with every line off.

Where dies are exchanged by hand, a person is asked for each, and what the die is called, read by the board, typed or
scanned, has to be the name that the run has for it. Meanwhile every line is off, and a board that can release its die
(`Releasing`) gives it no power; another one, such as an ArC TWO, stays powered with its lines at ground.
"""

import math
from functools import partial
from types import TracebackType
from typing import Any, Self

from instruments.board_bench import Exchange
from instruments.manual_prober import TypeIn
from instruments.open_board import OpenBoard
from labctl.core.board import Identifying, Releasing
from labctl.core.body import ReadyDie, Say, _quiet
from labctl.core.die_state import State
from labctl.core.errors import ContactError, LabError, LeftUnverified
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.core.units import Second
from labctl.station.bench_session import AnyTwin
from labctl.station.simulated import VISIT

PATIENCE: Second = 300.0
"""Longest time in which a board takes another die."""
ASKED = 3
"""How often a person is asked for a die."""


class OnBoard:
    """A board or its twin; leaving the context makes it safe.

    Args:
        twin: None for the real board.
        type_in: has a person type or scan what a die is called; unused on a twin, which exchanges dies by itself.
        by_hand: the die that is on the board is used, and none is asked for.
    """

    def __init__(
        self,
        opened: OpenBoard,
        twin: AnyTwin | None,
        *,
        type_in: TypeIn = lambda question: "",
        by_hand: bool = False,
    ) -> None:
        self.opened, self.twin, self._type_in = opened, twin, type_in
        self.anew = twin is not None
        """Whether the next die is as it was made, as the die of a new twin is."""
        self._exchanged = opened.bench.exchange is Exchange.BY_HAND and not by_hand
        self._on: str | None = None
        """What the die on the board is called; None before the first was asked for."""

    @property
    def rebuild(self) -> Rebuild:
        """A real die keeps its cells; the cells of a new twin are made anew."""
        return Rebuild.STATES if self.anew else Rebuild.NOTHING

    @property
    def patience(self) -> Second:
        """Longest time of an approach, s; infinite where a person exchanges dies."""
        return math.inf if self._exchanged and self.twin is None else PATIENCE

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Return the die of the board as `subject`.

        Raises:
            BenchError: it is of another shape.
            ContactError: a person was asked for it, and another one, or none, was put on the board.
        """
        description = subject.description
        self.opened.bench.fits(description.shape)
        opened = self.opened
        record: dict[str, Any] = {"identities": dict(opened.identities), "calibrations": dict(opened.calibrations)}
        if self._exchanged:
            say(State.MOVING)
            record["die_id"] = self._exchange(subject)
        die = opened.turn_to(description.nominal, description.polarity)
        if self.twin is None:
            return ReadyDie(die, record)
        twin, spot, first = self.twin, subject.spot, subject.visit << VISIT
        return ReadyDie(die, record, partial(twin.truth, spot), lambda number: twin.seek(spot, first + number))

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
        """Switch every line off, verified."""
        self.opened.off()

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
            if self.twin is not None:
                self.twin.close()


def _question(met: str, name: str, reads: bool) -> str:
    """Return what a person is asked.

    Args:
        met: what the die that was put on the board before is called, "" if none was.
        reads: the board reads what a die is called.
    """
    wrong = f"That is '{met}'. " if met else ""
    then = "type anything when it is there" if reads else "type or scan what stands on it"
    return f"{wrong}Every line is off: put die {name} on the board, and {then} (empty: leave it out)"
