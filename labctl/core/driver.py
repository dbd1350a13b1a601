"""The declaration of a driver: everything about it that is known without a connection.

A driver is one file: its class, the model of its options, and one `Driver` that is registered under the entry point
group `labctl.instruments` by the name that bench files use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.plugins import INSTRUMENTS, Plugin, find
from labctl.core.source import SourceCapabilities
from labctl.core.switch_matrix import Scheme


class DriverKind(StrEnum):
    """Kind of a driver: the interface that it has, and how it is made safe."""

    SOURCE = "source"
    MATRIX = "matrix"
    PROBER = "prober"


class Wire(StrEnum):
    """What carries the commands of a driver."""

    TEXT = "text"
    """Lines of text over VISA: a `labctl.core.transport.Transport`."""
    OPERATOR = "operator"
    """A person: a function that puts a sentence and returns whether it was confirmed."""
    NONE = "none"
    """The driver brings its own connection, such as a vendor's library."""


@dataclass(frozen=True)
class Driver:
    """The declaration of a driver.

    Args:
        kind: source, matrix or prober; what `make` returns has the interface of that kind.
        make: returns the driver from its name in the bench file, its options and what carries its commands; without a
            wire from name and options. It is called when the bench is connected, never to plan.
        options: model of its keys in the bench file, beside those of the wire; the base has none.
        wire: what carries its commands.
        question: harmless query that is sent after a wire of text is opened; None sends none.
        capabilities: of a source, returns them from the options.
        scheme: of a matrix, returns from the options how rows and columns of a bench file are spelled as crosspoints.
        emulator: entry point of the group `labctl.emulators` that stands in for the instrument in a twin.
        dead_socket: default of the port at which the instrument drops raw sockets that it still holds.
        location: of a driver without a wire, returns from the options what identifies the instrument on this computer,
            such as its serial number; runs that use the same one exclude each other.
    """

    kind: DriverKind
    make: Callable[..., Any]
    options: type[Model] = Model
    wire: Wire = Wire.TEXT
    question: str | None = "*IDN?"
    capabilities: Callable[[Any], SourceCapabilities] | None = None
    scheme: Callable[[Any], Scheme] | None = None
    emulator: str | None = None
    dead_socket: int | None = None
    location: Callable[[Any], str] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.options, type) and issubclass(self.options, Model)):
            raise TypeError(f"options is {self.options!r}; expected a subclass of labctl.core.model.Model")
        if self.kind is DriverKind.SOURCE and self.capabilities is None:
            raise TypeError("a source declares its capabilities, from which a bench is planned")
        if self.kind is DriverKind.MATRIX and self.scheme is None:
            raise TypeError("a matrix declares its scheme, by which the wires of a bench are checked")
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


def declared(name: str) -> tuple[Driver, Plugin]:
    """Return the declaration of the driver `name`, and where it comes from.

    Raises:
        BenchError: it is not installed, cannot be loaded, or is no `Driver`.
    """
    plugin = find(INSTRUMENTS, name)
    driver = plugin.load()
    if not isinstance(driver, Driver):
        raise BenchError(
            f"'{name}' of {plugin.origin} ({INSTRUMENTS}: {plugin.value}) is {type(driver).__name__}; "
            "expected a labctl.core.driver.Driver"
        )
    return driver, plugin
