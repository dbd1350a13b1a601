"""The calls of NI's package `niswitch` that a matrix is driven by, over the relays of the world.

Source: the documentation that NI publishes of its Python package (nimi-python, docs/niswitch/class.rst, enums.rst). One
relay a crosspoint, channels `r0` to the last row and `c0` to the last column; a path that exists is not made again, and
one that does not exist cannot be broken.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from random import Random
from typing import Any

from labctl.core.errors import BenchError
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.link import moves_freely
from sim_backend.emulators.world import Crosspoint, World


class DriverError(Exception):
    """An error of the library, with its number."""


class PathCapability(Enum):
    """What can be made of a path."""

    PATH_AVAILABLE = 1
    PATH_EXISTS = 2
    PATH_UNSUPPORTED = 3
    RESOURCE_IN_USE = 4
    SOURCE_CONFLICT = 5
    CHANNEL_NOT_AVAILABLE = 6


class RelayPosition(Enum):
    """Where a relay is."""

    OPEN = 10
    CLOSED = 11


class Session:
    """A session of one module; see `niswitch.Session`.

    Args:
        module: it stays as it is when a session ends.
        device: name of the resource.
    """

    instrument_manufacturer, instrument_model = "National Instruments", "NI PXI-2532"
    serial_number, instrument_firmware_revision = "01A2B3C4", "1.0.0"

    def __init__(self, module: "NiSwitchLibrary", device: str) -> None:
        self._module, self._closed, self.device = module, False, device

    def _alive(self) -> "NiSwitchLibrary":
        if self._closed:
            raise DriverError("-1074130544: the session was closed")
        return self._module

    @property
    def channel_count(self) -> int:
        """Number of channels."""
        return len(self._alive().channels)

    @property
    def number_of_relays(self) -> int:
        """Number of relays."""
        return len(self._alive().crosspoints)

    def get_channel_name(self, index: int) -> str:
        """Return a channel, counted from 1."""
        return self._alive().channels[index - 1]

    def get_relay_name(self, index: int) -> str:
        """Return a relay, counted from 1."""
        return "k" + list(self._alive().crosspoints)[index - 1].replace("/", "")

    def get_relay_position(self, relay_name: str) -> RelayPosition:
        """Return where a relay is."""
        module = self._alive()
        places = {"k" + name.replace("/", ""): name for name in module.crosspoints}
        return RelayPosition.CLOSED if places[relay_name] in module.shut else RelayPosition.OPEN

    def can_connect(self, channel1: str, channel2: str) -> PathCapability:
        """Return whether the direct path of two channels exists, or can be made."""
        name = self._alive().path(channel1, channel2)
        if name is None:
            return PathCapability.PATH_UNSUPPORTED
        return PathCapability.PATH_EXISTS if name in self._module.shut else PathCapability.PATH_AVAILABLE

    def connect(self, channel1: str, channel2: str) -> None:
        """Make a path; DriverError if there is none, or it exists."""
        name = self._alive().path(channel1, channel2)
        if name is None:
            raise DriverError(f"-1074126837: no path was found between {channel1} and {channel2}")
        if name in self._module.shut:
            raise DriverError(f"-1074126839: an explicit connection of {channel1} and {channel2} exists")
        self._module.move({name}, closed=True)

    def disconnect(self, channel1: str, channel2: str) -> None:
        """Break a path; DriverError if there is none."""
        name = self._alive().path(channel1, channel2)
        if name is None or name not in self._module.shut:
            raise DriverError(f"-1074126835: there is no path between {channel1} and {channel2}")
        self._module.move({name}, closed=False)

    def disconnect_all(self) -> None:
        """Break all paths."""
        self._alive().move(set(self._module.shut), closed=False)

    reset = disconnect_all

    def wait_for_debounce(self, maximum_time_ms: Any = None) -> None:
        """Wait until relays have settled."""
        self._alive().debounce()

    def close(self) -> None:
        """End the session; relays stay."""
        self._closed = True


class NiSwitchLibrary:
    """The package, with one module in its slot.

    Args:
        device: resource name of the module.
        crosspoints: the two conductors that each relay joins, by its name.
    """

    PathCapability, RelayPosition = PathCapability, RelayPosition

    def __init__(self, device: str, world: World, crosspoints: Mapping[str, Crosspoint]) -> None:
        self.device, self.world = device, world
        self.crosspoints = dict(crosspoints)
        pairs = [name.split("/") for name in crosspoints]
        self.channels = tuple(sorted({row for row, _ in pairs}) + sorted({column for _, column in pairs}))
        self.shut: frozenset[str] = frozenset()
        self.sticks: Callable[[str], bool] = moves_freely
        """Whether a relay that is told to move stays where it is."""
        self._bouncing = False

    def Session(
        self, resource_name: str, topology: str = "", simulate: bool = False, reset_device: bool = False
    ) -> Session:
        """Open a session; relays move only if it is to reset the module."""
        if resource_name != self.device:
            raise DriverError(f"-1074118656: no module is at {resource_name}")
        with self.world.lock:
            if reset_device:
                self.move(set(self.shut), closed=False)
        return Session(self, resource_name)

    def path(self, one: str, other: str) -> str | None:
        """Return the relay between two channels; None if there is none."""
        return next((name for name in (f"{one}/{other}", f"{other}/{one}") if name in self.crosspoints), None)

    def move(self, names: set[str], *, closed: bool) -> None:
        """Move relays; they bounce until they are waited for."""
        moving = {name for name in names if not self.sticks(name)}
        if not moving:
            return
        with self.world.lock:
            ends = [self.crosspoints[name] for name in moving]
            self.world.switch(close=ends if closed else [], open=[] if closed else ends)
            self.shut = self.shut | moving if closed else self.shut - moving
            self._bouncing = True

    def leftovers(self) -> dict[str, Leave]:
        """Return how another program leaves paths."""

        def paths(rng: Random) -> str:
            names = rng.sample(sorted(self.crosspoints), min(len(self.crosspoints), rng.randint(1, 8)))
            self.move(set(names), closed=True)
            self.debounce()
            return ", ".join(sorted(self.shut))

        return {"paths": paths}

    def debounce(self) -> None:
        """Let the time pass that relays take."""
        if self._bouncing:
            with self.world.lock:
                self.world.advance(self.world.timing.relay)
            self._bouncing = False


def emulate(name: str, options: Any, context: EmulatorContext) -> NiSwitchLibrary:
    """Return the package with the module of an entry of the bench file, whose relays are those of the wiring."""
    if not context.crosspoints:
        raise BenchError(f"{name}: no relay of {options.device} is in the wiring")
    return NiSwitchLibrary(options.device, context.world, context.crosspoints)
