"""Documented times of the instruments of a bench; `check` adds them up to predict the time of a plan.

[M] is a manual or data sheet, [?] an engineering default: measure it at the bench and enter it in the bench file.
"""

import math

from pydantic import Field

from labctl.core.model import Model
from labctl.core.source import Aperture, Hold, Level, Limit, Measure, Ramp, Step, Watch
from labctl.core.units import Ratio, Second

RAMP_STEP: Second = 1e-4
"""Wait between the small steps of a ramp, beside the source's settling."""


class BenchTiming(Model):
    """Times of single actions, s. The names are those of the emulated instruments' own figures."""

    message: Second = Field(default=1e-3, ge=0, description="[?] bus latency and parsing of one message")
    line_frequency: Ratio = Field(default=60.0, gt=0, description="mains frequency, Hz; one NPLC is its period")
    measure_overhead: Second = Field(default=200e-6, ge=0, description="[?] one reading beside its integration")
    source_settle: Second = Field(default=150e-6, ge=0, description="[M] 2600B: source settling after a change")
    output_relay: Second = Field(default=1e-3, ge=0, description="[?] output on or off")
    link: Second = Field(default=1e-4, ge=0, description="[?] one command or question over TSP-Link")
    relay: Second = Field(default=5e-3, ge=0, description="[?] relays of one command, moving together")
    step: Second = Field(default=1.0, ge=0, description="[?] prober, one die to the next")
    contact: Second = Field(default=0.5, ge=0, description="[?] chuck up or down")

    def of(self, step: Step, aperture: Second = 0.0, present: float = 0.0) -> Second:
        """Return the time of one step; `aperture` of a reading, `present` level that a ramp starts from."""
        match step:
            case Hold(seconds):
                return seconds
            case Ramp(_, volts, rate):
                steps = _small_steps(volts, present, rate)
                return steps * self.source_settle + max(0, steps - 1) * RAMP_STEP
            case Level():
                return self.source_settle
            case Measure():
                return aperture + self.measure_overhead
            case Limit() | Aperture() | Watch():
                return 0.0

    def over_link(self, step: Step, present: float = 0.0) -> Second:
        """Return what a step takes longer on a channel that is reached over TSP-Link; arguments are those of `of`."""
        match step:
            case Ramp(_, volts, rate):
                return self.link * (1 + _small_steps(volts, present, rate))
            case Hold():
                return 0.0
        return self.link * _COMMANDS[type(step)]


_COMMANDS: dict[type, int] = {Level: 1, Aperture: 1, Watch: 3, Limit: 4, Measure: 4}
"""Commands and questions of a step in a script: a measurement asks for the limit, output and level as well."""


def _small_steps(volts: float, present: float, rate: float) -> int:
    """Return the steps of a ramp."""
    return math.ceil(abs(volts - present) / (rate * RAMP_STEP) - 1e-9)
