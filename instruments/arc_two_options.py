"""An ArC TWO board as its bench file describes it: channels, converters, times; pure functions of its options.

Sources: documentation of pyarc2 and libarc2 (github.com/arc-instruments, pyarc2 b06691d, libarc2 72f8c9f): 64 channels
in 8 clusters; DACs of 16 bits over +-10 V, code 0x8000 is 0 V; pulses of the high-speed drivers from 40 ns to 0.5 s in
steps of 10 ns, one width and one direction per cluster; a change of levels is followed by 30 us, channels that come out
of the open are held at ground for 100 us and 30 us before; at most 2048 instructions are taken at once.
"""

import math
from typing import Annotated, Literal, Self

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from instruments.board_plan import ROUNDING, steps_towards_zero, whole_ticks
from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import BoolArray, FloatArray, IntArray, Second, Volt

CHANNELS, CLUSTER = 64, 8
"""Channels of a board, and channels that share the width and the direction of a pulse."""
MOST_LINES = 32
STEP: Volt = 20.0 / (1 << 16)
"""Of the DACs."""
LOWEST, HIGHEST = -(1 << 15), (1 << 15) - 1
"""Steps from 0 V that the DACs reach."""
UPDATE: Second = 30e-6
"""What the library waits after it has changed levels."""
PREPARE: Second = 130e-6
"""How long it holds channels at ground before they take a level again."""
TICK: Second = 10e-9
SHORTEST, LONGEST = 40e-9, 0.5
"""Pulses of the high-speed drivers, s."""
AFTER: Second = 10e-6
"""From the end of a pulse to the next command."""

Channel = Annotated[int, Ge(0), Le(CHANNELS - 1)]


class KernelChannels(Model):
    """The channels that one crossbar is on."""

    rows: list[Channel] = Field(min_length=1, max_length=MOST_LINES, description="channel of each row, driven")
    cols: list[Channel] = Field(min_length=1, max_length=MOST_LINES, description="channel of each column, sensed")
    bad_rows: frozenset[Annotated[int, Ge(0)]] = Field(
        default=frozenset(), description="rows, from 0, that float in every pattern"
    )
    bad_cols: frozenset[Annotated[int, Ge(0)]] = Field(
        default=frozenset(), description="columns, from 0, that float in every pattern"
    )

    @model_validator(mode="after")
    def _has_bad(self) -> Self:
        for what, bad, lines in (("row", self.bad_rows, self.rows), ("column", self.bad_cols, self.cols)):
            if bad and max(bad) >= len(lines):
                raise ValueError(f"found {what} {max(bad)} as bad; expected one of 0 to {len(lines) - 1}")
        return self

    @property
    def good(self) -> BoolArray:
        """(lines,) which lines may be driven and read, rows first."""
        rows, cols = (
            ~np.isin(np.arange(len(of)), sorted(bad))
            for of, bad in ((self.rows, self.bad_rows), (self.cols, self.bad_cols))
        )
        return np.concatenate([rows, cols])

    @property
    def lines(self) -> IntArray:
        """Channels of all lines, rows first, (lines,)."""
        return np.array([*self.rows, *self.cols])


class Options(Model):
    """Options of an ArC TWO board in the bench file."""

    id: Annotated[int, Ge(0)] = Field(
        default=0, description="[?] number of the board among those of this computer, as pyarc2.find_ids gives it"
    )
    firmware: str = Field(min_length=1, description="firmware that is loaded into the board when it is taken, a file")
    kernels: list[KernelChannels] = Field(min_length=1, description="channels of each crossbar of its dies")
    control: Literal["internal", "header"] = Field(
        default="internal", description="[?] whether the die is in the socket of the daughterboard, or on its header"
    )
    positive: Literal["into_die", "out_of_die"] = Field(
        default="into_die", description="[?] direction of the currents of a channel that the library calls positive"
    )
    settle: Annotated[Second, Ge(0), Le(1)] = Field(
        default=100e-6, description="[?] from the levels of a read to its first conversion"
    )
    conversion: Annotated[Second, Gt(0), Le(1)] = Field(
        default=320e-6, description="[?] one conversion of all columns at once; a reading is the mean of an aperture's"
    )
    message: Annotated[Second, Ge(0), Le(10)] = Field(default=5e-3, description="[?] one message to the board")
    fetch: Annotated[Second, Ge(0), Le(1)] = Field(
        default=500e-6, description="[?] the results of one conversion, fetched from the board"
    )
    deadline: Annotated[Second, Gt(0), Le(60)] = Field(
        default=5.0, description="how much longer than predicted a message may take before the board counts as lost"
    )
    at_rest: Annotated[Volt, Gt(0), Le(0.1)] = Field(
        default=10e-3, description="[?] most that a line at rest may read from 0 V"
    )

    @model_validator(mode="after")
    def _wired(self) -> Self:
        shapes = {(len(k.rows), len(k.cols)) for k in self.kernels}
        if len(shapes) > 1:
            raise ValueError(f"kernels of {sorted(shapes)} rows and columns; expected all of one shape")
        used = np.concatenate([k.lines for k in self.kernels])
        channels, count = np.unique(used, return_counts=True)
        if (count > 1).any():
            raise ValueError(f"channel {channels[count > 1][0]} is on two lines; expected each channel once")
        return self

    @property
    def geometry(self) -> Geometry:
        """Shape of the dies, of polarity 1."""
        return Geometry(len(self.kernels), len(self.kernels[0].rows), len(self.kernels[0].cols))

    @property
    def used(self) -> IntArray:
        """Channels of all lines of all kernels."""
        return np.concatenate([k.lines for k in self.kernels])

    def conversions(self, aperture: Second) -> int:
        """Return how many conversions make a reading: those that an aperture has room for, at least one."""
        return max(1, math.floor(aperture / self.conversion + ROUNDING))

    def read_time(self, aperture: Second) -> Second:
        """Return how long one read lasts, with the way to its levels and back, s."""
        return PREPARE + UPDATE + self.settle + self.conversions(aperture) * self.conversion + UPDATE


def steps(volts: FloatArray) -> IntArray:
    """Return whole steps of the DACs in volts, towards 0 V; BenchError for what they do not reach.

    So no two lines are further apart, and none from 0 V, than asked for: limits that hold for what is asked for hold
    for what is applied.

    >>> steps(np.array([0.0, STEP, 0.1, -0.1])).tolist()
    [0, 1, 327, -327]
    """
    whole = steps_towards_zero(volts, STEP)
    if whole.size and not (int(whole.min()) >= LOWEST and int(whole.max()) <= HIGHEST):
        wrong = float(volts.flat[int(np.abs(whole).argmax())])
        raise BenchError(
            f"a line at {wrong:.6g} V; the board drives lines from {LOWEST * STEP:.4f} to {HIGHEST * STEP:.4f} V"
        )
    return whole


def nanoseconds(width: Second) -> int:
    """Return the width of a pulse as the board makes it, ns, never longer than asked for.

    Raises:
        BenchError: the high-speed drivers make none so short or long, or miss it by more than a 20th.

    >>> nanoseconds(1e-3), nanoseconds(1.234e-6)
    (1000000, 1230)
    """
    fewest, most = round(SHORTEST / TICK), round(LONGEST / TICK)
    return whole_ticks(width, TICK, fewest, most, f"{TICK:g} s") * round(TICK * 1e9)
