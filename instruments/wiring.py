"""Which channels, matrix places and pads are joined by wires, and which lines the pads are, as the bench file says.

A wire has two ends. A channel is wired to rows of a matrix, a pad to columns of a matrix, to a channel, or to ground.
Here is the text of the file; what it means on the bench, and what is not sound, is in `connections`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Self

from annotated_types import Gt
from pydantic import BeforeValidator, Field, model_validator

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import Ohm, Second

GROUND = "ground"
"""The end of a wire that is on the sources' LO."""

CHANNEL = re.compile(r"[A-Za-z][\w-]*\.[A-Za-z]\w*")
"""A channel of a source: the instrument, and the channel in it."""


def _as_ends(value: Any) -> Any:
    """Return one end as a list of one, and no end as an empty one."""
    if value is None:
        return ()
    if isinstance(value, int | float):
        raise ValueError(f"{value} is a number, which may have lost its zeros; expected the row or column in quotes")
    return (value,) if isinstance(value, str) else value


Ends = Annotated[tuple[str, ...], BeforeValidator(_as_ends, json_schema_input_type=str | list[str] | None)]
"""Ends of wires that come together: one text or a list."""


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


class Tee(Model):
    """A bias tee: it puts the pulses of a pulse source on the line of a channel of a source, beside its level."""

    pulses: str = Field(description="channel of the pulse source, such as pulser.out1")
    shortest: Second = Field(gt=0, description="shortest pulse that tee, cables and needle carry")
    longest: Second = Field(
        gt=0, description="longest pulse that the tee carries: a pulse of a tenth of its time constant sags by a tenth"
    )
    junction: tuple[Ohm, Ohm] = Field(
        description="lowest and highest resistance between the line and the others, by which is told what part of a "
        "pulse is across it; no voltage is set by it"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.junction[0] <= self.junction[1]:
            raise ValueError(f"junction is {self.junction[0]:g} to {self.junction[1]:g} ohm; expected the lowest first")
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest:g} s is above longest {self.longest:g} s")
        return self


class Wiring(Model):
    """Channels and ground to matrix rows, pads to matrix columns or straight to a channel, kernels to pads."""

    channels: dict[str, Ends] = Field(
        default_factory=dict,
        description="instrument.channel: its matrix row, or rows of several matrices such as [left.A, right.A]; "
        "pulses first, sensing last, as listed. A channel that is wired straight to a pad is named there",
    )
    ground: Ends = Field(
        default=(), description="matrix row, or rows of several matrices, on the sources' LO, which grounds lines"
    )
    pads: dict[str, Ends] = Field(
        min_length=2,
        description="pad: its matrix column in the matrix's own words, such as 1-07, with several matrices left.1-07; "
        "or the channel that is wired to it, such as smu.smua; or ground",
    )
    kernels: tuple[KernelPads, ...] = Field(min_length=1)
    tees: dict[str, Tee] = Field(
        default_factory=dict, description="channel of a source: the bias tee that puts short pulses on its line"
    )
    fastest_pulse: dict[str, Annotated[Second, Gt(0)]] = Field(
        default_factory=dict,
        description="matrix: shortest pulse that its relays and cables carry; one that is not named carries none of a "
        "pulse source",
    )

    @model_validator(mode="after")
    def _lines_have_their_own_pads(self) -> Self:
        for channel, ends in self.channels.items():
            if not CHANNEL.fullmatch(channel):
                raise ValueError(f"'{channel}' is not a channel such as smu1.smua")
            if not ends:
                raise ValueError(
                    f"channel {channel} is on no matrix row; expected one, or the pad that it is wired to under 'pads'"
                )
        for pad, ends in self.pads.items():
            if not ends:
                raise ValueError(f"pad {pad} is wired to nothing; expected a matrix column, a channel or ground")
            if pad == GROUND:
                raise ValueError(f"'{GROUND}' is no name for a pad")
        shapes = {(len(k.rows), len(k.cols), len(k.gates)) for k in self.kernels}
        if len(shapes) > 1:
            each = " and ".join(f"{n} x {m} lines{f' with {g} gates' if g else ''}" for n, m, g in sorted(shapes))
            raise ValueError(f"kernels differ in shape: there are {each}; expected all alike")
        used = [pad for kernel in self.kernels for pad in kernel.lines]
        unknown = sorted({pad for pad in used if pad not in self.pads})
        if unknown:
            raise ValueError(f"pads {', '.join(unknown)} are used by a kernel and not in the list of pads")
        twice = sorted(pad for pad, count in Counter(used).items() if count > 1)
        if twice:
            raise ValueError(f"pads {', '.join(twice)} are used by two lines; every line has its own pad")
        return self

    def fits(self, geometry: Geometry) -> None:
        """Raise BenchError unless the kernels are those of `geometry`."""
        kernel = self.kernels[0]
        shape = (len(self.kernels), len(kernel.rows), len(kernel.cols))
        if shape != geometry.shape:
            raise BenchError(
                f"the wiring is for {shape[0]} kernel{'s' * (shape[0] != 1)} of {shape[1]} x {shape[2]} lines; "
                f"the die has {geometry.kernels} of {geometry.n_rows} x {geometry.n_cols}; expected its bench"
            )
        if bool(kernel.gates) != (geometry.kind == "1T1R"):
            raise BenchError(f"a {geometry.kind} die {'has no gates' if kernel.gates else 'needs gates'} in the wiring")

    def kernels_of(self) -> Mapping[str, int]:
        """Return the kernel of every pad that is a line."""
        return {pad: k for k, kernel in enumerate(self.kernels) for pad in kernel.lines}
