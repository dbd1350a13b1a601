"""Sweeps of the 2600B: its trigger model over linear, log and list sweeps.

The arm layer and the trigger layer of the reference manual ("Remote triggering"): each step waits for the event of its
detector, or not if that has no stimulus; source, measure and end-pulse actions follow once per trigger count. Channels
take turns at every detector. A measurement that has a stimulus begins with its event; ASYNC is as ENABLE, so a
measurement that is longer than its pulse prolongs it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sim_backend.emulators.k2600_buffer import Buffer
from sim_backend.emulators.k2600_events import Detector
from sim_backend.emulators.k2600_smu import VOLTS, Smu, SmuReading
from sim_backend.emulators.tsp.vm import Refusal

DETECTORS = ("arm", "source", "measure", "endpulse")
"""Event detectors of a channel."""
EVENTS = ("SWEEPING", "ARMED", "SOURCE_COMPLETE", "MEASURE_COMPLETE", "PULSE_COMPLETE", "SWEEP_COMPLETE", "IDLE")
"""Events of a channel, in the order of their numbers."""
IDLE, HOLD = 0, 1
MOST_POINTS = 60_000
DISABLE = 0


@dataclass
class Sweep:
    """Settings of `smuX.trigger`."""

    count: int = 1
    autoclear: int = DISABLE
    arm_count: int = 1
    arm_stimulus: int = 0
    source_action: int = DISABLE
    measure_action: int = DISABLE
    endpulse_action: int = HOLD
    endsweep_action: int = IDLE
    source_stimulus: int = 0
    measure_stimulus: int = 0
    endpulse_stimulus: int = 0
    limiti: float | None = None
    limitv: float | None = None
    quantity: int = VOLTS
    levels: list[float] = field(default_factory=list)
    buffers: tuple[tuple[str, Any], ...] = ()

    def linear(self, quantity: int, start: float, stop: float, points: float) -> None:
        """Source a staircase."""
        self._take(quantity, [float(v) for v in np.linspace(start, stop, _points(points))])

    def log(self, quantity: int, start: float, stop: float, points: float, asymptote: float = 0.0) -> None:
        """Source a logarithmic staircase."""
        first, last = start - asymptote, stop - asymptote
        if not first * last > 0:
            raise Refusal(-221, "Settings conflict")
        span = np.geomspace(first, last, _points(points))
        self._take(quantity, [float(v + asymptote) for v in span])

    def listed(self, quantity: int, levels: list[float]) -> None:
        """Source a list."""
        self._take(quantity, levels)

    def _take(self, quantity: int, levels: list[float]) -> None:
        if not levels:
            raise Refusal(1102, "Parameter too small")
        self.quantity, self.levels = quantity, levels


def _points(points: float) -> int:
    if not 2 <= points <= MOST_POINTS:
        raise Refusal(1101, "Parameter too big") if points > 2 else Refusal(1102, "Parameter too small")
    return int(points)


class SweptChannel(Protocol):
    """A channel as sweeps and triggers see it."""

    name: str
    instrument: Any
    node: Any
    smu: Smu
    sweep: Sweep
    detectors: dict[str, Detector]
    waiting: bool

    def buffer(self, target: Any) -> Buffer:
        """Return the buffer behind a Lua value."""
        ...

    def store(self, buffer: Buffer, quantity: str, reading: SmuReading) -> None:
        """Store one quantity of a reading in a buffer."""
        ...

    def initiate(self) -> None:
        """Start the sweep."""
        ...

    def detect(self, layer: str) -> None:
        """Set a detector as its event would."""
        ...


def sweep_of(channel: SweptChannel, emit: Callable[[str], None]) -> Iterator[str]:
    """Run the sweep of a channel; levels are checked before the first one is applied.

    Args:
        emit: gives an event of the channel, `ARMED`.

    Yields:
        the detector whose event it waits for, one of `DETECTORS`, even if it has no stimulus.
    """
    sweep, smu = channel.sweep, channel.smu
    if sweep.source_action:
        for level in sweep.levels:
            smu.check("levelv" if sweep.quantity == VOLTS else "leveli", level)
    bias = smu.set.levelv, smu.set.leveli
    for _, buffer in sweep.buffers:
        buffer.begin()
    emit("SWEEPING")
    for _ in range(sweep.arm_count):
        yield "arm"
        if sweep.autoclear:
            for detector in channel.detectors.values():
                detector.clear()
        emit("ARMED")
        for step in range(sweep.count):
            smu.world.advance(0.0)  # others are let in, and a sweep without end is ended
            yield "source"
            if sweep.source_action and sweep.levels:
                _source(channel, sweep.levels[step % len(sweep.levels)])
            emit("SOURCE_COMPLETE")
            yield "measure"
            if sweep.measure_action:
                _measure(channel)
            emit("MEASURE_COMPLETE")
            yield "endpulse"
            if sweep.endpulse_action == IDLE and sweep.source_action:
                _restore(channel, bias)
            emit("PULSE_COMPLETE")
        if sweep.endsweep_action == IDLE and sweep.source_action:
            _restore(channel, bias)
        emit("SWEEP_COMPLETE")
    emit("IDLE")


def _source(channel: SweptChannel, level: float) -> None:
    smu, sweep = channel.smu, channel.sweep
    if sweep.limiti is not None and sweep.quantity == VOLTS:
        smu.write("limiti", sweep.limiti)
    if sweep.limitv is not None and sweep.quantity != VOLTS:
        smu.write("limitv", sweep.limitv)
    smu.write("levelv" if sweep.quantity == VOLTS else "leveli", level, swept=True)


def _restore(channel: SweptChannel, bias: tuple[float, float]) -> None:
    if channel.sweep.quantity == VOLTS:
        channel.smu.write("levelv", bias[0], swept=True)
    else:
        channel.smu.write("leveli", bias[1], swept=True)


def _measure(channel: SweptChannel) -> None:
    overhead = 0.0 if channel.sweep.measure_stimulus else channel.smu.world.timing.swept_measure
    reading: SmuReading = channel.smu.convert(overhead=overhead)
    for quantity, buffer in channel.sweep.buffers:
        channel.store(buffer, quantity, reading)
