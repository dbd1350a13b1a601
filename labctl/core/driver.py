"""The declaration of a driver: everything about it that is known without a connection.

A driver is one file: its class, the model of its options, and one `Driver` that is registered under the entry point
group `labctl.instruments` by the name that bench files use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from labctl.core.bias import Geometry, Nominal
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.plugins import BODIES, INSTRUMENTS, Plugin, find
from labctl.core.pulse_source import PulseCapabilities
from labctl.core.source import SourceCapabilities
from labctl.core.switch_matrix import Scheme


class DriverKind(StrEnum):
    """Kind of a driver: the interface that it has, and how it is made safe."""

    SOURCE = "source"
    MATRIX = "matrix"
    PROBER = "prober"
    PULSES = "pulse source"
    """It makes pulses that are shorter than those of sources, and measures nothing (`labctl.core.pulse_source`)."""
    BOARD = "board"
    """A whole die of hardware: it drives and senses every line by itself (`labctl.core.board`)."""


class Wire(StrEnum):
    """What carries the commands of a driver."""

    TEXT = "text"
    """Lines of text over VISA: a `labctl.core.transport.Transport`."""
    BINARY = "binary"
    """Bytes over VISA: a `labctl.core.transport.BinaryTransport`."""
    OPERATOR = "operator"
    """A person: a function that puts a sentence and returns whether it was confirmed."""
    NONE = "none"
    """The driver brings its own connection, such as a vendor's library."""


@runtime_checkable
class Warns(Protocol):
    """A driver of an instrument that gives warnings, which end nothing and are recorded."""

    def warnings(self) -> list[str]:
        """Return the warnings that the instrument gave since the last call, each once in a session."""
        ...


@dataclass(frozen=True)
class Driver:
    """The declaration of a driver.

    Args:
        kind: source, matrix, prober, pulse source or board; what `make` returns has the interface of that kind.
        make: returns the driver from its name in the bench file, its options and what carries its commands; without a
            wire from name and options, and on a twin from what its emulator is as well. It is called when the bench is
            connected, never to plan.
        options: model of its keys in the bench file, beside those of the wire; the base has none.
        wire: what carries its commands.
        question: harmless query that is sent after a wire of text is opened; None sends none.
        capabilities: of a source, returns them from the options.
        pulses: of a pulse source, returns its capabilities from the options.
        scheme: of a matrix, returns from the options how rows and columns of a bench file are spelled as crosspoints.
        geometry: of a board, returns from its options the shape of the dies that it drives, of polarity 1.
        planned: of a board, returns from its options, the nominal conductances of a die and its polarity a die that
            answers `check` without a connection.
        emulator: entry point of the group `labctl.emulators` that stands in for the instrument in a twin, and gets its
            options; or a function that returns both from the options.
        dead_socket: default of the port at which the instrument drops raw sockets that it still holds.
        serial_clear: bytes that are its device clear on a serial line; empty if it has none there.
        node: returns from the options the instrument's number on the bus of its own on which scripts reach it, such as
            TSP-Link; None if it is on none.
        location: of a driver without a wire, returns from the options what identifies the instrument on this computer,
            such as its serial number; runs that use the same one exclude each other.
    """

    kind: DriverKind
    make: Callable[..., Any]
    options: type[Model] = Model
    wire: Wire = Wire.TEXT
    question: str | None = "*IDN?"
    capabilities: Callable[[Any], SourceCapabilities] | None = None
    pulses: Callable[[Any], PulseCapabilities] | None = None
    scheme: Callable[[Any], Scheme] | None = None
    geometry: Callable[[Any], Geometry] | None = None
    planned: Callable[[Any, Nominal, int], Die] | None = None
    emulator: str | Callable[[Any], tuple[str, Any] | None] | None = None
    dead_socket: int | None = None
    serial_clear: bytes = b""
    location: Callable[[Any], str] | None = None
    node: Callable[[Any], int | None] | None = None

    def emulator_of(self, options: Any) -> tuple[str, Any] | None:
        """Return the emulator of an instrument with these options and what options it gets; None if there is none."""
        if callable(self.emulator):
            return self.emulator(options)
        return None if self.emulator is None else (self.emulator, options)

    @property
    def addressed(self) -> bool:
        """Whether the instrument has a VISA address."""
        return self.wire in (Wire.TEXT, Wire.BINARY)

    @property
    def probe(self) -> str | None:
        """Harmless query that is sent after its wire is opened; None sends none."""
        return self.question if self.wire is Wire.TEXT else None

    @property
    def terminator(self) -> str:
        """What ends a message on its wire; empty where the driver frames its messages."""
        return "\n" if self.wire is Wire.TEXT else ""

    def __post_init__(self) -> None:
        if not (isinstance(self.options, type) and issubclass(self.options, Model)):
            raise TypeError(f"options is {self.options!r}; expected a subclass of labctl.core.model.Model")
        if self.kind is DriverKind.SOURCE and self.capabilities is None:
            raise TypeError("a source declares its capabilities, from which a bench is planned")
        if self.kind is DriverKind.PULSES and self.pulses is None:
            raise TypeError("a pulse source declares its capabilities, by which its pulses are planned")
        if self.kind is DriverKind.MATRIX and self.scheme is None:
            raise TypeError("a matrix declares its scheme, by which the wires of a bench are checked")
        if self.kind is DriverKind.BOARD and (self.planned is None or self.geometry is None):
            raise TypeError("a board declares the geometry of its dies, and the die that is planned with")
        if self.location is not None and self.wire is not Wire.NONE:
            raise TypeError(f"location is for a driver without a wire; the wire of this one is {self.wire.value}")


@runtime_checkable
class Diagnosed(Protocol):
    """A driver that knows more of its instrument than the interface of its kind asks."""

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return the state of the instrument, and the faults that a person must check, in operator words.

        Changes nothing.
        """
        ...


@dataclass(frozen=True)
class Calibration:
    """When an instrument, or a channel of it, was calibrated and is due again; None where it does not say."""

    done: date | None = None
    due: date | None = None


@runtime_checkable
class Calibrated(Protocol):
    """A driver whose instrument keeps the dates of its calibration."""

    def calibration(self) -> Mapping[str, Calibration]:
        """Return the dates by channel, "" for an instrument as a whole; changes nothing."""
        ...


def declared(name: str, group: str = INSTRUMENTS) -> tuple[Driver, Plugin]:
    """Return the declaration of the driver `name`, and where it comes from.

    Args:
        group: of instruments, or of bodies, where drivers of boards are registered.

    Raises:
        BenchError: it is not installed, cannot be loaded, or is no `Driver` of this group.
    """
    plugin = find(group, name)
    driver = plugin.load()
    if not isinstance(driver, Driver):
        raise BenchError(
            f"'{name}' of {plugin.origin} ({group}: {plugin.value}) is {type(driver).__name__}; "
            "expected a labctl.core.driver.Driver"
        )
    if (driver.kind is DriverKind.BOARD) != (group == BODIES):
        raise BenchError(f"'{name}' of {plugin.origin} is a {driver.kind}, and registered under {group}")
    return driver, plugin
