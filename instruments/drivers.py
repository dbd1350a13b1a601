"""From an entry of the bench file to a driver over what carries its commands.

Everything about a driver that is known without a connection is in its declaration (`labctl.core.driver`); its class is
made when the bench is connected, and not to plan.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from instruments.board_bench import AnyBench, BoardBench, Exchange
from instruments.entry import Entry
from instruments.manual_prober import Ask
from instruments.third_party import ThirdPartyDriver
from instruments.transport import CHECK, Log
from labctl.core.driver import DriverKind, Warns, Wire
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.pulse_source import PulseCapabilities
from labctl.core.source import SourceCapabilities
from labctl.core.transport import Transport


@dataclass(frozen=True)
class InPlace:
    """An emulated instrument at the interface of its driver, in place of the driver."""

    driver: Any


Connect = Callable[[str, Entry], Any]
"""From an instrument's name and its entry in the bench file to its transport, which opens when it is first used.

A driver that brings its own connection gets what its emulator is, on a twin, and None otherwise.
"""


def driver_of(name: str, entry: Entry, connect: Connect, ask: Ask | None) -> Any:
    """Return the driver of an entry of the bench file, over what carries its commands.

    Args:
        connect: makes what carries the driver's commands, or what is in its place.
        ask: puts a sentence to the operator; None if there is none.

    Raises:
        BenchError: the driver cannot be used, or needs an operator and there is none.
        InstrumentError: a third-party driver raised another error when it was made.
    """
    declaration = entry.declaration
    make = partial(declaration.make, name, entry.options)
    transport = None if declaration.wire is Wire.OPERATOR else connect(name, entry)
    if isinstance(transport, InPlace):
        return transport.driver
    if declaration.wire is Wire.OPERATOR:
        if ask is None:
            raise BenchError(f"{name} is moved by hand, and there is no operator to ask")
        make = partial(make, ask)
    elif transport is not None:
        make = partial(make, transport)
    return ThirdPartyDriver(name, entry.driver, make, transport) if entry.foreign else make()


def close_all(parts: Iterable[Any]) -> None:
    """Close drivers; every one is tried, InstrumentError with all errors."""
    failed: list[str] = []
    for part in parts:
        try:
            part.close()
        except BaseException as error:
            text = str(error)
            reason = text or f"it was interrupted by {type(error).__name__}; {CHECK}"
            failed.append(text if text.startswith(part.name) else f"{part.name}: closing its connection: {reason}")
    if failed:
        raise InstrumentError("; ".join(failed))


def warnings_of(parts: Iterable[Any]) -> list[str]:
    """Return what instruments have warned of since the last call."""
    warned = ((part.name, part.warnings() if isinstance(part, Warns) else []) for part in parts)
    return [f"{name}: {text}" for name, texts in warned for text in texts]


def has_prober(bench: AnyBench) -> bool:
    """Return whether a bench has a prober, motorised or manual; True if a kind is not known."""
    return any(entry.kind in (DriverKind.PROBER, None) for entry in bench.instruments.values())


def reaches_several(bench: AnyBench) -> bool:
    """Return whether a bench gets from one die to the next: by a prober, or by a person who exchanges them."""
    return has_prober(bench) or (isinstance(bench, BoardBench) and bench.exchange is Exchange.BY_HAND)


def visa(log: Callable[[str], Log] | None = None) -> Connect:
    """Return the function that connects to real addresses; `log` gives each instrument's name its log."""

    def connect(name: str, entry: Entry) -> Transport | None:
        from instruments.transports import transport_to

        if entry.address is None:
            return None
        listening = log(name) if log else None
        return transport_to(name, entry.address, entry.declaration, log=listening, dead_socket=entry.dead_socket)

    return connect


class Planned:
    """An instrument that is only planned with: it has the capabilities that its driver declares, and refuses to act.

    Args:
        name: in the bench file.
        entry: its entry there.
    """

    by_hand = False

    def __init__(self, name: str, entry: Entry) -> None:
        self.name, self.permit = name, self._refuse
        self.capabilities: SourceCapabilities | PulseCapabilities | None = None
        match entry.kind:
            case DriverKind.SOURCE:
                self.capabilities = entry.capabilities
            case DriverKind.PULSES:
                self.capabilities = entry.pulses

    def close(self) -> None:
        """Do nothing."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return self._refuse

    def _refuse(self, *arguments: Any, **keywords: Any) -> Any:
        raise InstrumentError(f"{self.name} is not connected")
