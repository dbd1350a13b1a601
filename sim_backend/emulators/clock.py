"""Clocks that are handed in, so that a night at the bench takes seconds in the twin and every run is reproducible.

An emulated instrument never reads the computer's time: it advances the clock by the time of its operation.
"""

import time
from dataclasses import dataclass, fields
from typing import Protocol

from labctl.core.units import Second


class Clock(Protocol):
    """Clock of an instrument."""

    @property
    def waits(self) -> bool:
        """Whether advancing takes as long as it says."""
        ...

    @property
    def now(self) -> Second:
        """Seconds since the clock was created."""
        ...

    def advance(self, seconds: Second) -> None:
        """Let `seconds` pass; ValueError if negative."""
        ...


class VirtualClock:
    """A clock that moves only by `advance`.

    >>> clock = VirtualClock()
    >>> clock.advance(1.5); clock.now
    1.5
    """

    waits = False

    def __init__(self) -> None:
        self._now = 0.0

    @property
    def now(self) -> Second:
        """Seconds since the clock was created."""
        return self._now

    def advance(self, seconds: Second) -> None:
        """Let `seconds` pass at once; ValueError if negative."""
        if not seconds >= 0:
            raise ValueError(f"time runs forward; got {seconds} s")
        self._now += seconds


class RealClock:
    """The computer's monotonic clock; advancing waits."""

    waits = True

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def now(self) -> Second:
        """Seconds since the clock was created."""
        return time.monotonic() - self._start

    def advance(self, seconds: Second) -> None:
        """Wait `seconds`; ValueError if negative."""
        if not seconds >= 0:
            raise ValueError(f"time runs forward; got {seconds} s")
        time.sleep(seconds)


@dataclass(frozen=True)
class EmulatorTiming:
    """Times of the emulated instruments. Marks in `SOURCES`: [M] data sheet or manual, [?] this project's default.

    Args:
        message: bus latency and parsing of one message, s.
        line_frequency: mains frequency, Hz; an integration of one NPLC takes one period.
        measure_overhead: fixed time of one SMU reading beside its integration, s.
        source_settle: an SMU's source after a level or range change, s.
        swept_source: one step of a 2600B's source by its trigger model, on a fixed range, s.
        swept_measure: fixed time of one reading by its trigger model, s.
        output_relay: SMU output switched on or off, s.
        high_z_relay: the same with the HIGH-Z relay involved, s.
        link: one command or question that goes to another node of TSP-Link, s.
        relay: one matrix operation, relays of one command move together, s.
        step: prober move to a die, s.
        contact: prober move of the chuck in z, s.
    """

    message: Second = 1e-3
    line_frequency: float = 60.0
    measure_overhead: Second = 200e-6
    source_settle: Second = 150e-6
    swept_source: Second = 33e-6
    swept_measure: Second = 33e-6
    output_relay: Second = 1e-3
    high_z_relay: Second = 15e-3
    link: Second = 1e-4
    relay: Second = 5e-3
    step: Second = 1.0
    contact: Second = 0.5

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) >= 0 or (f.name == "line_frequency" and self.line_frequency <= 0):
                raise ValueError(f"timing '{f.name}' is {getattr(self, f.name)}; expected a positive number")


SOURCES: dict[str, str] = {
    "message": "[?] 0.2-2 ms of LAN and parsing are common on a bench",
    "line_frequency": "[M] 2600B localnode.linefreq, detected at power-on; 60 Hz here",
    "measure_overhead": "[?] 2600B reading rates at 0.001 NPLC allow about 200 us beside the integration",
    "source_settle": "[M] 2600B data sheet: source settles within 150 us up to the 40 V range",
    "swept_source": "[M] 2600B data sheet: 12,000 points a second with a reading at 0.001 NPLC, 20,000 readings alone",
    "swept_measure": "[M] 2600B data sheet: 20,000 readings a second at 0.001 NPLC",
    "output_relay": "[?] output on or off in NORMAL mode",
    "high_z_relay": "[M] 2400 manual gives about 15 ms for its high-impedance relay; taken for the 2600B",
    "link": "[?] no manual gives the time of a command over TSP-Link",
    "relay": "[?] reed card 7174A settles in a few ms; 4-20 ms are used at benches",
    "step": "[?] an automatic prober steps one die in about a second",
    "contact": "[?] chuck up or down",
}
