"""The analogue part of an emulated Daffodil board, and the audit of what the board does to its chip."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from labctl.boards.daffodil import registers as reg
from labctl.core.units import BoolArray, FloatArray, Ohm, Volt
from sim_backend.chip import ChipDie
from sim_backend.rng import Stream

FULL: Volt = 5.0
STEPS = 4096


@dataclass
class Defects:
    """What is broken on a board; nothing on a sound one.

    Args:
        stuck: channels of DACs that take no code any more.
        saturated: outputs of amplifiers that stay at a rail, V, by the row of the board.
        dead: codes that converters give whatever they convert, by the number of the ADC.
        unsupplied: the converters and amplifiers are without power, and the registers do not tell.
    """

    stuck: frozenset[tuple[int, int]] = frozenset()
    saturated: Mapping[int, Volt] = field(default_factory=dict)
    dead: Mapping[int, int] = field(default_factory=dict)
    unsupplied: bool = False

    @property
    def none(self) -> bool:
        """Whether the board is sound."""
        return not (self.stuck or self.saturated or self.dead or self.unsupplied)


@dataclass
class BoardAudit:
    """What the board did to the chip.

    Args:
        towards_p: highest V_row - V_col, in the die's words, of a cell behind an open gate, V, transients included.
        towards_ap: the same of V_col - V_row.
        gate: highest gate voltage above the chip's ground, V.
        events: how many there were, and how many of them read.
        refused: what the chip or the emulation could not do, in words.
    """

    towards_p: Volt = 0.0
    towards_ap: Volt = 0.0
    gate: Volt = 0.0
    events: int = 0
    reads: int = 0
    refused: list[str] = field(default_factory=list)

    def see(self, low: FloatArray, high: FloatArray, opened: BoolArray, n_rows: int) -> None:
        """Record lines anywhere between `low` and `high`, (rows + columns,) V, with the gates of rows `opened`."""
        if not opened.any():
            return
        rows, cols = slice(None, n_rows), slice(n_rows, None)
        self.towards_p = max(self.towards_p, float(high[rows][opened].max() - low[cols].min()))
        self.towards_ap = max(self.towards_ap, float(high[cols].max() - low[rows][opened].min()))


@dataclass(frozen=True)
class Analog:
    """The analogue part of one board, as it really is.

    Args:
        points: resistances of the feedback of each row of the board at two codes, (25, 2) ohm.
        codes: those codes.
        gain: of each feedback, what it really is over what was measured, (25,).
        offset: of each amplifier, (25,) V at its output.
        low, high: outputs of the amplifiers, V.
        ground: the ground of the chip, V.
    """

    points: FloatArray
    codes: tuple[int, int]
    gain: FloatArray
    offset: FloatArray
    low: Volt = 0.0
    high: Volt = 3.3
    ground: Volt = 1.7

    def feedback(self, row: int, code: int) -> Ohm:
        """Return the feedback of a row at a code, ohm."""
        (a, b), (first, second) = self.points[row], self.codes
        return float((a + (b - a) * (code - first) / (second - first)) * self.gain[row])

    @classmethod
    def drawn(
        cls, chip: ChipDie, name: str, feedback: Ohm, points: FloatArray, codes: tuple[int, int], **rest: Volt
    ) -> "Analog":
        """Return amplifiers with the offsets and mismatch of the chip's die file, drawn for the board `name`."""
        board, seed = chip.description.simulation.effective.board, chip.seed
        assert board is not None
        offset, gain = (
            Stream(seed, name, "board", what, stride=reg.LINES).normals(0)[0] for what in ("offsets", "gains")
        )
        return cls(points, codes, np.exp(board.gain * gain), board.offset * feedback * offset, **rest)
