"""Boards of a twin: how dies come to them, and a simulated die in the place of one without an emulator."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np

from labctl.core.bias import Geometry, Nominal
from labctl.core.die import Die
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.source import ChannelState
from labctl.core.units import Second
from labctl.core.write_loop import program_by_host
from sim_backend.chip import ChipDie
from sim_backend.die import SimDie


@runtime_checkable
class Exchanging(Protocol):
    """An emulated board onto which another die can be put."""

    def put(self, die: SimDie | ChipDie) -> None:
        """Have another die on the board; BenchError if it is none for it."""
        ...


@runtime_checkable
class OnNeedles(Protocol):
    """An emulated board whose lines may end at needles."""

    def touch(self, die: SimDie | ChipDie | None) -> None:
        """Have needles on the pads of a die; None: on no pads, where every line is open."""
        ...

    def hot(self) -> str:
        """Return what is live at its lines, in words; "" if nothing is."""
        ...


class BoardNeedles:
    """The needles between the boards of a world and its dies.

    Args:
        dies: the die at a place of the prober, None where there is none.
        boards: everything emulated, of which boards are told where the needles are.
    """

    def __init__(
        self,
        dies: Callable[[tuple[int, int, int]], SimDie | ChipDie | None],
        boards: Callable[[], Iterable[Any]],
    ) -> None:
        self._dies, self._boards = dies, boards

    def hot(self) -> str:
        """Return what is live at the needles, in words; "" if nothing is."""
        return "; ".join(live for board in self._concerned() if (live := board.hot()))

    def moved(self, place: tuple[int, int, int], down: bool) -> None:
        """Tell every board what its needles are on."""
        for board in self._concerned():
            self.tell(board, place, down)

    def tell(self, board: Any, place: tuple[int, int, int], down: bool) -> None:
        """Tell one board."""
        board.touch(self._dies(place) if down else None)

    def _concerned(self) -> list[OnNeedles]:
        return [board for board in self._boards() if isinstance(board, OnNeedles)]


class SimulatedBoard:
    """A board whose die is simulated; it does what the board's own plan allows.

    Args:
        name: in the bench file.
        planned: returns the die that the board is planned with, for nominal conductances and a polarity.
        stands_for: the driver in whose place it is.
        die: the simulated die.
    """

    def __init__(
        self, name: str, planned: Callable[[Nominal, int], Die], stands_for: str, die: SimDie | ChipDie
    ) -> None:
        self.name, self._plan, self._stands_for = name, planned, stands_for
        self._die: SimDie | ChipDie = die
        self._planned = planned(die.nominal, die.geometry.polarity)
        self._touching = True

    def connect(self) -> str:
        """Return a fixed identity."""
        return f"mtj-labctl,board,stands in for {self._stands_for},1"

    def turn_to(self, nominal: Nominal, polarity: int) -> None:
        """Plan with another die."""
        self._planned = self._plan(nominal, polarity)

    def put(self, die: SimDie | ChipDie) -> None:
        """Have another die in its place."""
        self._die = die

    def touch(self, die: SimDie | ChipDie | None) -> None:
        """Have needles on a die, or on none: its cells read open then."""
        self._die, self._touching = die or self._die, die is not None

    def hot(self) -> str:
        """Return "": all lines are at rest between two operations."""
        return ""

    @property
    def geometry(self) -> Geometry:
        """Shape of the simulated die."""
        return self._die.geometry

    def check(self, operation: Operation) -> Second:
        """Return the time that the board's plan predicts, s; BenchError if the board cannot do it."""
        return self._planned.check(operation)

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do what the board's plan allows to the simulated die; on needles that touch none every cell reads open."""
        self.check(operation)
        if not self._touching and isinstance(operation, Sense | Pulse):
            read = operation if isinstance(operation, Sense) else operation.verify
            n, m = len(operation), 0 if read is None else read.cols.shape[1]
            return Reading(np.zeros((n, m)), np.zeros((n, m), np.uint8), np.zeros(n, np.uint8))
        if not self._touching and isinstance(operation, WritePlan):
            return program_by_host(self, operation)
        return self._die.perform(operation)

    def idle(self) -> None:
        """Make the simulated die idle."""
        self._die.idle()

    def release(self) -> None:
        """Make the simulated die idle; it has no power of its own."""
        self._die.idle()

    def state(self) -> Mapping[str, ChannelState]:
        """Return no line: all are at rest between two operations."""
        return {}

    def off(self) -> None:
        """Make the simulated die idle."""
        self._die.idle()

    def verify_off(self) -> None:
        """Do nothing: every line is at rest between two operations."""

    def close(self) -> None:
        """Do nothing."""
