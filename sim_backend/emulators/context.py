"""What an emulated instrument is made in: the world of a bench, its needles' map, its relays, and the noise.

An emulator is a function under the entry point group `labctl.emulators`; a driver names it in its declaration. It is
called with the instrument's name and the options of its entry in the bench file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labctl.core.units import Ampere, Ratio
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.world import Crosspoint, World


@dataclass(frozen=True)
class EmulatorContext:
    """Surroundings of one emulated instrument.

    Args:
        world: the die under the needles, the cables, the relays and the clock; shared by all instruments of a bench.
        station: places that the prober can go to.
        die: the simulated die that a board drives; needles reach dies through the world.
        crosspoints: the two conductors that each relay of this matrix joins, by the relay's name; none of others.
        seed: of the noise of this instrument.
        ideal: no noise, resolution or programming steps.
        offset: zero-bias error of its ammeters, A.
        gain: error of the gain of each of its channels, quantities and ranges, standard deviation of its logarithm.
    """

    world: World
    station: StationMap
    die: Any = None
    crosspoints: Mapping[str, Crosspoint] = field(default_factory=dict)
    seed: int = 0
    ideal: bool = True
    offset: Ampere = 0.0
    gain: Ratio = 0.0


Emulate = Callable[[str, Any, EmulatorContext], Instrument]
"""From an instrument's name, its options and its surroundings to the emulated instrument."""
