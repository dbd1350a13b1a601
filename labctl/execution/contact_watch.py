"""Whether needles touched while a stage was measured: proved at its end, and once most of its cells read open.

The contact structures of the bench prove it. Where it names none, cells do that conducted before: they are read again,
and conduct. Where contact is gone, everything since it was proved last is void, and the try of the die with it.

When a run is resumed, readings of another touch stand in the journal behind the last proof. Needles that have lifted do
not come back by themselves, so the cells that read open last tell: one that conducts when it is read again, on the new
touch, was not touched then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from labctl.core.cell_state import is_open
from labctl.core.errors import ContactError, ContactLost, ContactUnread
from labctl.core.events import ContactProved
from labctl.core.limits import Limited
from labctl.core.operations import Reading, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray, Ohm, Ratio

OPEN_SHARE: Ratio = 0.5
"""Share of the cells of a stage above which contact is proved at once."""
WITNESSES = 3
"""Cells that conducted last: where no structure is named, contact is lost if none of them conducts any more."""
MOST_AGAIN = 64
"""Cells that read open before an interruption, and are read again after it, at most."""

VOID = "what was measured since contact was proved last is no measurement"
"""Ending of a message that says so."""

Prove = Callable[[], Mapping[str, Ohm]]
"""Measures the contact structures; returns their resistances, none where none is named. ContactError if one is open."""
Cell = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _CellRead:
    """One pattern of a read, and one of its columns."""

    sense: Sense
    pattern: int
    slot: int

    def repeat(self) -> Sense:
        """Return the read of this cell alone."""
        one = self.sense.take(slice(self.pattern, self.pattern + 1))
        return replace(one, cols=one.cols[:, self.slot : self.slot + 1])


class ContactWatch:
    """Watches the readings of one die for its contact.

    Args:
        die: behind its limits; cells are read again on it.
        prove: None where nothing touches, as in a simulation: then everything here does nothing.
        proved: number of the last row of the journal that proves contact, 0 if there is none.
    """

    def __init__(self, die: Limited, prove: Prove | None = None, proved: int = 0) -> None:
        self._die, self._prove, self._proved = die, prove, proved
        self._read: set[Cell] = set()
        self._open: dict[Cell, _CellRead] = {}
        self._conducting: dict[Cell, _CellRead] = {}
        self._suspect: set[Cell] = set()
        self._looked = False

    def begin(self) -> None:
        """Begin a stage: what counts are its own cells."""
        self._read, self._open, self._suspect, self._looked = set(), {}, set(), False

    def recall(self, row: int, sense: Sense | None, reading: Reading) -> None:
        """Take a reading that the journal has in `row`; its contact is in question if it was not proved afterwards."""
        cells = self._take(sense, reading)
        if row > self._proved:
            self._suspect |= cells

    def look(self, sense: Sense | None, reading: Reading) -> None:
        """Take a reading; ContactLost if more than half of the cells of the stage read open, and contact is gone."""
        self._take(sense, reading)
        if not self._looked and len(self._open) > OPEN_SHARE * len(self._read):
            self._looked = True
            self._touching("more than half of the cells that this stage has read are open")

    def resume(self) -> None:
        """Judge the contact of the readings that the journal has and that no proof follows.

        Raises:
            ContactLost: a cell that read open then conducts now.
        """
        suspect = [cell for cell in self._open if cell in self._suspect][-MOST_AGAIN:]
        self._suspect = set()
        for cell in suspect:
            if self._conducts(self._open[cell]):
                raise ContactLost(
                    f"void: {_named(cell)} read open before the interruption and conducts now, so the needles did not "
                    f"touch then; {VOID}"
                )

    def end(self) -> ContactProved | None:
        """Prove contact at the end of a stage; return what proves it, None where nothing touches.

        Raises:
            ContactLost: it is gone.
        """
        if self._prove is None:
            return None
        self.resume()
        return self._touching("at the end of the stage")

    def _touching(self, when: str) -> ContactProved:
        assert self._prove is not None
        try:
            resistance = self._prove()
        except (ContactError, ContactUnread) as error:
            raise ContactLost(f"void: {when}: {error}; {VOID}") from error
        if resistance:
            return ContactProved(by="structures", resistance=resistance)
        for cell in reversed(self._conducting):
            if self._conducts(self._conducting[cell]):
                return ContactProved(by=f"{_named(cell)}, which conducts as before")
        if self._conducting:
            cells = " and ".join(_named(cell) for cell in self._conducting)
            raise ContactLost(f"void: {when}: {cells} conducted before and is open now; {VOID}")
        if self._open:
            raise ContactLost(
                f"void: {when}: no cell that was read conducts, and the bench file names no contact structure, which "
                f"would tell an open die from needles that do not touch, and from swapped instruments or cables; {VOID}"
            )
        return ContactProved(by="nothing: no structure is named, and no single cell was read")

    def _conducts(self, read: _CellRead) -> bool:
        """Read one cell again; return whether it conducts, or draws so much that the reading is flagged."""
        sense = read.repeat()
        reading = self._die.perform(sense)
        if reading.flag[0, 0]:
            return True
        _, _, is_open = _judged(sense, reading, self._die)
        return not is_open.any()

    def _take(self, sense: Sense | None, reading: Reading) -> set[Cell]:
        """Take the readings of single cells; return those cells that are open by them."""
        if self._prove is None or sense is None or not sense.cols.size:
            return set()
        (pattern, slot), cells, is_open = _judged(sense, reading, self._die)
        for p, s, cell, opened in zip(pattern.tolist(), slot.tolist(), cells, is_open.tolist(), strict=True):
            self._read.add(cell)
            self._open.pop(cell, None)
            self._conducting.pop(cell, None)
            (self._open if opened else self._conducting)[cell] = _CellRead(sense, p, s)
        while len(self._conducting) > WITNESSES:
            del self._conducting[next(iter(self._conducting))]
        return {cell for cell, opened in zip(cells, is_open.tolist(), strict=True) if opened}


def _judged(sense: Sense, reading: Reading, die: Limited) -> tuple[tuple[IntArray, IntArray], list[Cell], BoolArray]:
    """Return of the unflagged readings of single cells where they are (pattern, wanted column), the cells, and if open.

    A reading is that of one cell if a single driven row is at another level than its column.
    """
    bias = sense.bias
    col = np.take_along_axis(bias.col, sense.cols, 1)
    across: FloatArray = bias.row[:, :, None] - col[:, None, :]
    if bias.floating is not None:
        across = across * ~bias.floating[:, : bias.row.shape[1], None]
    pattern, slot = np.nonzero(((across != 0).sum(axis=1) == 1) & (reading.flag == 0) & np.isfinite(reading.current))
    row = (across != 0).argmax(axis=1)[pattern, slot]
    kernel = np.broadcast_to(bias.kernel, len(sense))[pattern]
    conductance = np.abs(reading.current[pattern, slot] / across[pattern, row, slot])
    cells = list(zip(kernel.tolist(), row.tolist(), sense.cols[pattern, slot].tolist(), strict=True))
    return (pattern, slot), cells, is_open(conductance, die.nominal.g_ap(kernel))


def _named(cell: Cell) -> str:
    kernel, row, col = cell
    return f"the cell of kernel {kernel}, row {row}, column {col}"
