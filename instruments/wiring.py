"""Which channel feeds which matrix row, which pad hangs on which matrix column, and which lines the pads are.

A crossed wire breaks dies unnoticed, so a contradiction is refused with both names in the message. Matrix rows are
taken to be joined across slots (the mainframe's analog backplane).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import Field, model_validator

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.model import Model

_COLUMN = re.compile(r"[1-6]-(0[1-9]|1[0-2])")
_ROW = re.compile(r"[A-H]")
_CHANNEL = re.compile(r"[A-Za-z][\w-]*\.[A-Za-z]\w*")


class KernelPads(Model):
    """Pads of the lines of one kernel, in order of the line's index."""

    rows: tuple[str, ...] = Field(min_length=1)
    cols: tuple[str, ...] = Field(min_length=1)
    gates: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Pads of all lines: rows, columns, gates."""
        return self.rows + self.cols + self.gates

    @model_validator(mode="after")
    def _a_gate_per_row(self) -> Self:
        if self.gates and len(self.gates) != len(self.rows):
            raise ValueError(f"{len(self.gates)} gates for {len(self.rows)} rows; expected one per row or none")
        return self


class Wiring(Model):
    """Channels to matrix rows, pads to matrix columns, kernels to pads."""

    channels: dict[str, str] = Field(
        min_length=2, description="instrument.channel: matrix row; pulses first, sensing last, as listed"
    )
    ground: str | None = Field(default=None, description="matrix row on the sources' LO, which grounds lines")
    pads: dict[str, str] = Field(min_length=2, description="pad: matrix column as slot-column, such as 1-07")
    kernels: tuple[KernelPads, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_conflicts(self) -> Self:
        for channel, row in self.channels.items():
            _require_match(_CHANNEL, channel, "a channel such as smu1.smua")
            _require_match(_ROW, row, f"the matrix row of {channel}, a letter from A to H")
        if self.ground is not None:
            _require_match(_ROW, self.ground, "the matrix row of the ground, a letter from A to H")
        for pad, column in self.pads.items():
            _require_match(_COLUMN, column, f"the matrix column of pad {pad}, slot-column such as 1-07")
        sources = [*self.channels.items(), *([("ground", self.ground)] if self.ground else [])]
        _require_distinct(sources, "matrix row", "are both on")
        _require_distinct(self.pads.items(), "matrix column", "are both on")
        self._lines_have_their_own_pads()
        return self

    def _lines_have_their_own_pads(self) -> None:
        shapes = {(len(k.rows), len(k.cols), len(k.gates)) for k in self.kernels}
        if len(shapes) > 1:
            raise ValueError(f"kernels differ in shape (rows, columns, gates): {sorted(shapes)}; all must be alike")
        used = [pad for kernel in self.kernels for pad in kernel.lines]
        unknown = sorted({pad for pad in used if pad not in self.pads})
        if unknown:
            raise ValueError(f"pads {', '.join(unknown)} are used by a kernel and not in the list of pads")
        twice = sorted(pad for pad, count in Counter(used).items() if count > 1)
        if twice:
            raise ValueError(f"pads {', '.join(twice)} are used by two lines; every line has its own pad")

    @property
    def sources(self) -> tuple[str, ...]:
        """Channels in the order of the file; the ground, if any, comes last and is no channel."""
        return tuple(self.channels)

    def fits(self, geometry: Geometry) -> None:
        """Raise BenchError unless the kernels are those of `geometry`."""
        kernel = self.kernels[0]
        shape = (len(self.kernels), len(kernel.rows), len(kernel.cols))
        if shape != geometry.shape:
            raise BenchError(
                f"the wiring is for {shape[0]} kernels of {shape[1]} x {shape[2]} lines; "
                f"the die has {geometry.kernels} of {geometry.n_rows} x {geometry.n_cols}"
            )
        if bool(kernel.gates) != (geometry.kind == "1T1R"):
            raise BenchError(f"a {geometry.kind} die {'has no gates' if kernel.gates else 'needs gates'} in the wiring")

    def crosspoint(self, pad: str, source: int) -> str:
        """Return the relay between `pad` and a source: an index into `sources`, or their number for the ground.

        Raises:
            BenchError: no such pad, or no ground.
        """
        if pad not in self.pads:
            raise BenchError(f"pad '{pad}' is not in the wiring")
        row = self.ground if source == len(self.channels) else self.channels[self.sources[source]]
        if row is None:
            raise BenchError("the wiring has no ground row")
        slot, column = self.pads[pad].split("-")
        return f"{slot}{row}{column}"

    def table(self) -> list[list[list[str]]]:
        """Return the crosspoints by [kernel][line][source]; lines are rows, columns, gates; the ground comes last."""
        count = len(self.channels) + (self.ground is not None)
        return [
            [[self.crosspoint(pad, source) for source in range(count)] for pad in kernel.lines]
            for kernel in self.kernels
        ]


def _require_match(pattern: re.Pattern[str], text: str, expected: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError(f"'{text}' is not {expected}")


def _require_distinct(items: Iterable[Sequence[str]], kind: str, verb: str) -> None:
    """Raise ValueError if two names share one place."""
    taken: dict[str, str] = {}
    for name, place in items:
        if place in taken:
            raise ValueError(f"{taken[place]} and {name} {verb} {kind} {place}")
        taken[place] = name
