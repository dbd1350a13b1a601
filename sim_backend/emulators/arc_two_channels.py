"""The 64 channels of an ArC TWO board around a simulated passive die: DACs, high-speed drivers, amplifiers, ground.

What cells see is recorded apart from the die (`ChannelAudit`): while levels change each line is anywhere between where
it was and where it goes, and one that is disconnected anywhere between the driven ones.

Sources: documentation and conversions of libarc2 72f8c9f: 16 bits over +-10 V with 0 V at 0x8000; 18 bits; ranges of
830 ohm, 110 kohm and 15 Mohm; 170 pA and 12 mA of Scientific Reports 12, 13912 (2022). [?]: that a range is chosen by
the board, that levels move together, that a channel is open after the firmware was loaded, the noise of the ranges.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Second, Volt
from sim_backend.die import SimDie
from sim_backend.emulators.meter_gain import MeterGain
from sim_backend.emulators.safety_audit import HOT_VOLTAGE
from sim_backend.emulators.world import World
from sim_backend.rng import Stream, first_of

CHANNELS, CLUSTER = 64, 8
MOST_CURRENT: Ampere = 12e-3
"""[?] Of a channel; behind it the channel gives way."""
SPAN: Volt = 20.48
"""Of the ADCs, 18 bits."""
FULL: Volt = 10.24
BITS = 18
RANGES = (15e6, 110e3, 830.0)
"""Ohm, the most sensitive first; it is taken unless it is full."""
FLOOR: Ampere = 170e-12
NOISE_STEPS = 2.0
"""[?] Noise of a range in steps of its converter, where that is above the floor."""
SLOPE: Volt = 3.05179e-4
"""A step of the DACs as the library divides by it; the DACs' own is 20 V / 65536."""


class Switch(IntEnum):
    """What a channel is connected to, beside ground: nothing, its DAC, its high-speed driver."""

    OPEN = 0
    LEVEL = 1
    PULSE = 2


@dataclass
class ChannelAudit:
    """What the board did to the die.

    Args:
        towards_p, towards_ap: highest V_row - V_col and V_col - V_row of a cell, V, transients included.
        conversions, pulses: how many there were.
        clipped: levels that the library cut off at the end of the DACs.
        shorted: times that a channel at a level was connected to ground.
    """

    towards_p: Volt = 0.0
    towards_ap: Volt = 0.0
    conversions: int = 0
    pulses: int = 0
    clipped: int = 0
    shorted: int = 0
    faults: list[str] = field(default_factory=list)


def code(volts: Any) -> IntArray:
    """Return the DAC codes that the library makes of volts, in single precision, cut off at both ends.

    >>> code([0.0, 0.1, -0.1, 99.0]).tolist()
    [32768, 33095, 32440, 65535]
    """
    exact = (np.asarray(volts, np.float32) + np.float32(10.0)) / np.float32(SLOPE)
    return np.rint(exact.astype(np.float64)).clip(0, 65535).astype(np.int64)


def level(codes: IntArray) -> FloatArray:
    """Return what a DAC puts out at codes, V."""
    return np.asarray((codes - 32768) * (20.0 / 65536))


class Channels:
    """The channels of a board.

    Args:
        die: on it.
        kernels: channels of the rows and then the columns of each kernel, (kernels, lines).
        world: has the clock, and records when the die is energised.
        seed: of the noise. ideal: no noise, offset, error of gain or steps of the ADCs.
        offset: standard deviation of the zero errors, A. gain: of the logarithm of the gains.
    """

    def __init__(
        self,
        die: SimDie,
        kernels: IntArray,
        world: World,
        *,
        seed: int,
        ideal: bool,
        offset: Ampere,
        gain: float,
    ) -> None:
        self.die, self._kernels, self._world, self._ideal = die, kernels, world, ideal
        self._n_rows = die.geometry.n_rows
        self.touching = True
        """Whether its lines reach the die; needles may be up."""
        self.audit = ChannelAudit()
        self._noise = Stream(seed, "ArC TWO", "noise", stride=CHANNELS)
        self._zero = offset * Stream(seed, "ArC TWO", "zero", stride=CHANNELS).normals(0)[0]
        self._gains = [MeterGain(seed, channel, gain) for channel in range(CHANNELS)]
        self._drawn = 0
        self.low: FloatArray = np.zeros(CHANNELS)
        self.high: FloatArray = np.zeros(CHANNELS)
        """Both outputs of each DAC, V: of a channel at its level they are equal."""
        self.switch: IntArray = np.full(CHANNELS, int(Switch.OPEN))
        self.grounded = np.ones(CHANNELS, np.bool_)
        self.up = np.zeros(CHANNELS, np.bool_)
        """High-speed drivers that put out the higher one."""
        self._now = self._potentials()
        """Potentials at present, V, and which channels drive."""
        self._driven: list[tuple[int, FloatArray, BoolArray]] = []
        """Kernels with lines that differ: number, V and which drive, of the lines."""
        self.begins()

    def begins(self) -> None:
        """Load the firmware: every channel is open and off ground, what the DACs put out stays."""
        self.switch[:], self.grounded[:] = Switch.OPEN, False
        self._ends: dict[int, Second] = {}
        """When pulses end, by cluster, s."""
        self._moved()

    def touch(self, die: SimDie | None) -> None:
        """Have needles on a die, or on none: what is read then is open, and what is driven reaches nothing."""
        self.die, self.touching = die or self.die, die is not None

    def hot(self) -> str:
        """Return the channels in use that are away from 0 V, in words; "" if none is."""
        volts, driven = self._now
        used = np.unique(self._kernels)
        live = used[driven[used] & (np.abs(volts[used]) > HOT_VOLTAGE)]
        return ", ".join(f"channel {channel} at {volts[channel]:.4g} V" for channel in live.tolist())

    def seek(self, operation: int) -> None:
        """Set the random stream of the noise to the number of an operation."""
        self._drawn = first_of(operation)

    # -- levels

    def _potentials(self) -> tuple[FloatArray, BoolArray]:
        """Return what channels put out, V, and which of them drive."""
        own = np.where(self.switch == Switch.LEVEL, self.high, np.where(self.up, self.high, self.low))
        driven = self.grounded | (self.switch != Switch.OPEN)
        return np.where(self.grounded | ~driven, 0.0, own), driven

    def _moved(self) -> None:
        """Take the potentials that channels have now, and record what cells may have seen on the way to them."""
        (v0, on0), (v1, on1) = self._now, self._potentials()
        self._now, self._driven = (v1, on1), []
        if (self.grounded & (self.switch != Switch.OPEN) & ((self.low != 0.0) | (self.high != 0.0))).any():
            self.audit.shorted += 1
        low, high = np.minimum(v0, v1), np.maximum(v0, v1)
        if not (low.any() or high.any()):
            return
        anywhere, audit, n = ~(on0 & on1), self.audit, self._n_rows
        for kernel, lines in enumerate(self._kernels):
            lo, hi, free = low[lines], high[lines], anywhere[lines]
            if free.any():
                lo, hi = np.where(free, lo.min(), lo), np.where(free, hi.max(), hi)
            audit.towards_p = max(audit.towards_p, float(hi[:n].max() - lo[n:].min()))
            audit.towards_ap = max(audit.towards_ap, float(hi[n:].max() - lo[:n].min()))
            v, on = v1[lines], on1[lines]
            if on.any() and v[on].max() > v[on].min():
                self._driven.append((kernel, v, on))
        ledger = self._world.ledger
        ledger.peak_cell_voltage = max(ledger.peak_cell_voltage, audit.towards_p, audit.towards_ap)
        if self.touching:
            ledger.biased(max((float(np.ptp(v[on])) for _, v, on in self._driven), default=0.0))

    def load(self, low: FloatArray, high: FloatArray) -> None:
        """Have DACs put out levels, (64,) V; channels at a level put out the higher."""
        self.low, self.high = low.copy(), high.copy()
        self._moved()

    def turn(self, channels: IntArray, switch: Switch, *, up: bool = False) -> None:
        """Connect channels; a high-speed driver begins at its lower output, or at its higher one if `up`."""
        self.switch[channels], self.up[channels] = switch, up
        self._moved()

    def ground(self, channels: IntArray) -> None:
        """Connect these channels to ground, and no others."""
        self.grounded[:] = False
        self.grounded[channels] = True
        self._moved()

    # -- time

    def flip(self, channels: IntArray, seconds: dict[int, Second]) -> None:
        """Have high-speed drivers change over now, and back after the time of their cluster, s."""
        self.up[channels] ^= True
        self._moved()
        self.audit.pulses += 1
        self._ends = {cluster: self._world.now + time for cluster, time in seconds.items()}
        self._pulsed = channels

    @property
    def pulsing(self) -> bool:
        """Whether a pulse is on."""
        return bool(self._ends)

    def wait(self, seconds: Second) -> None:
        """Let a time pass, s; pulses end in it."""
        end = self._world.now + seconds
        while self._ends and (first := min(self._ends.values())) <= end + 1e-12:
            self._hold(max(0.0, first - self._world.now))
            over = [cluster for cluster, time in self._ends.items() if time <= first]
            back = self._pulsed[np.isin(self._pulsed // CLUSTER, over)]
            self.up[back] ^= True
            for cluster in over:
                del self._ends[cluster]
            self._moved()
        self._hold(max(0.0, end - self._world.now))

    def _hold(self, seconds: Second) -> None:
        """Let a time pass in which nothing changes, s."""
        if seconds > 0.0:
            self._lines(seconds)

    # -- converters

    def _lines(self, seconds: Second) -> tuple[FloatArray, FloatArray]:
        """Hold the die for a time; return currents A into it and voltages V of all channels."""
        current, volts = np.zeros(CHANNELS), self._now[0].copy()
        begin = self._world.now
        self._world.advance(seconds)
        for kernel, v, on in self._driven if self.touching else ():
            lines = self._kernels[kernel]
            at, through, _ = self.die.hold(kernel, v, on, np.full(len(lines), MOST_CURRENT), seconds)
            current[lines], volts[lines] = through, at
            if float(np.ptp(v[on])) > HOT_VOLTAGE:
                self._world.ledger.energise(begin, self._world.now)
        return current, volts

    def convert(self, channels: IntArray, seconds: Second) -> FloatArray:
        """Return currents (64,) A out of channels, as their converters read them; NaN of others."""
        self.audit.conversions += 1
        current, _ = self._lines(seconds)
        read = np.full(CHANNELS, np.nan)
        noise = self._noise.normals(self._drawn)[0]
        self._drawn += 1
        for channel in channels.tolist():
            amps = 0.0 if self.grounded[channel] or self.switch[channel] == Switch.OPEN else float(current[channel])
            read[channel] = amps if self._ideal else self._converted(channel, amps, float(noise[channel]))
        return read.astype(np.float32).astype(np.float64)

    def _converted(self, channel: int, amps: Ampere, normal: float) -> Ampere:
        """Return a current as the most sensitive range that is not full reads it."""
        for ohm in RANGES:
            step = SPAN / (1 << BITS) / ohm
            gained = amps * self._gains[channel](1, FULL / ohm) + self._zero[channel]
            noisy = gained + max(FLOOR, NOISE_STEPS * step) * normal
            whole = round(float(noisy / step))
            if abs(whole) < (1 << (BITS - 1)) - 1:
                return whole * step
        return float(math.copysign((1 << (BITS - 1)) - 1, whole) * step)

    def voltages(self, channels: IntArray, seconds: Second) -> FloatArray:
        """Return voltages (64,) V of channels, as their converters read them; NaN of others."""
        _, volts = self._lines(seconds)
        read = np.full(CHANNELS, np.nan)
        read[channels] = np.rint(volts[channels] / (SPAN / (1 << BITS))) * (SPAN / (1 << BITS))
        return read
