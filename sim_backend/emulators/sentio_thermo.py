"""The thermo chuck of the emulated SENTIO: its setpoint, and a temperature that goes there with time.

Commands and the names of its states: MPI's public Python package `sentio_prober_control`, its group `status`.
[?] How fast a chuck is, what its bounds are, whether needles have to be up while it is set, and the code of a station
without one, no public source says.
"""

import math
from collections.abc import Callable

from sim_backend.emulators.sentio_model import NO_HANDLER, OUT_OF_BOUNDS, WRONG_COUNT, ProberError, ProberState
from sim_backend.emulators.world import World

HOTTEST, COLDEST = 300.0, -60.0
"""Bounds, degrees Celsius."""
WINDOW = 0.1
"""Distance from its setpoint at which it is controlling, K."""


class ThermoChuck:
    """The chuck of one station."""

    def __init__(self, world: World, state: ProberState) -> None:
        self._world, self._state, self._looked = world, state, world.now

    def commands(self) -> dict[str, Callable[[list[str]], tuple[int, str]]]:
        """Return the commands by their names."""
        return {
            "status:get_chuck_temp": lambda arguments: (0, f"{self.temperature():.2f}"),
            "status:get_chuck_temp_setpoint": self._setpoint,
            "status:get_chuck_thermo_state": lambda arguments: (0, self._thermo()),
            "status:set_chuck_temp": self._set,
        }

    def temperature(self) -> float:
        """Return the present temperature, degrees Celsius."""
        state = self._state
        if not state.thermo:
            raise ProberError(NO_HANDLER, "No thermo chuck")
        passed, self._looked = self._world.now - self._looked, self._world.now
        way = state.setpoint - state.temperature
        step = 0.0 if state.thermo_lost else min(abs(way), state.ramp * passed)
        state.temperature += math.copysign(step, way)
        return state.temperature

    def _setpoint(self, arguments: list[str]) -> tuple[int, str]:
        self.temperature()
        return 0, f"{self._state.setpoint:.2f}"

    def _thermo(self) -> str:
        way = self._state.setpoint - self.temperature()
        if self._state.thermo_lost:
            return self._state.thermo_lost
        return "Controlling" if abs(way) < WINDOW else "Heating" if way > 0 else "Cooling"

    def _set(self, arguments: list[str]) -> tuple[int, str]:
        if len(arguments) not in (1, 2):
            raise ProberError(WRONG_COUNT, "Invalid number of parameters")
        self.temperature()
        wanted = float(arguments[0])
        if not COLDEST <= wanted <= HOTTEST:
            raise ProberError(OUT_OF_BOUNDS, f"Temperature must be {COLDEST:g} to {HOTTEST:g} C")
        self._state.setpoint = wanted
        return 0, "OK"
