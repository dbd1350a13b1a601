"""How the emulated instruments of a twin are served on this computer and reached, by what the bench file says."""

from collections.abc import Callable
from typing import Any

from instruments.board_bench import AnyBench
from instruments.carrier import Address, Carrier, carrier_of, gpib_address
from instruments.entry import Entry
from labctl.core.addresses import device_identity
from labctl.core.driver import Wire
from labctl.core.errors import BenchError
from labctl.core.transport import Transport
from labctl.core.units import Second
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.serial_port import HAS_TERMINALS
from sim_backend.emulators.serve import Bus, Serving, Way


def serving_of(bench: AnyBench, *, every_way: bool = False) -> tuple[dict[str, Serving], list[Bus]]:
    """Return how the emulated instruments of a bench are served: by the ways of its file.

    Args:
        every_way: by all others as well, for other people's programs.

    Raises:
        BenchError: two instruments are at one address of a controller.
    """
    serving: dict[str, Serving] = {}
    buses: dict[str, tuple[bool, dict[str, str]]] = {}
    for name, entry in bench.instruments.items():
        if (address := entry.address) is None:
            continue
        way = _WAYS.get(address.carrier, Way.SOCKET)
        if way is Way.GATEWAY and address.gateway is not None:
            new: tuple[bool, dict[str, str]] = (carrier_of(address.gateway) is Carrier.SERIAL, {})
            buses.setdefault(device_identity(address.gateway), new)[1][name] = gpib_address(address.resource)
        ways = {way} | ({Way.VXI11, *([Way.SERIAL] if HAS_TERMINALS else [])} if every_way else set())
        serving[name] = Serving(ways, way, address.line.end.encode())
    if not HAS_TERMINALS and (
        any(serial for serial, _ in buses.values()) or any(s.usual is Way.SERIAL for s in serving.values())
    ):
        raise BenchError("this system has no pseudo-terminals for the serial lines of this bench; use --sim bytes")
    return serving, [Bus(addresses, serial) for serial, addresses in buses.values()]


def link_of(entry: Entry) -> dict[str, Any]:
    """Return the arguments of a transport to an emulated instrument: how its driver speaks, and its deadlines."""
    deadlines = None if entry.address is None else entry.address.deadlines
    driver = entry.declaration
    return {"probe": driver.probe, "terminator": driver.terminator, "deadlines": deadlines}


LEISURE: Second = 10.0
"""Least deadline of a reply of an emulated instrument on a socket, s."""


_WAYS = {
    Carrier.HISLIP: Way.HISLIP,
    Carrier.VXI11: Way.VXI11,
    Carrier.SERIAL: Way.SERIAL,
    Carrier.GATEWAY: Way.GATEWAY,
}
"""Ways that a bench file names; USB and GPIB of a computer have a raw socket in their place."""


def loopback(resource: str, name: str, entry: Entry, sleep: Callable[[Second], None] | None = None) -> Transport:
    """Return the transport to an emulated instrument that is served on this computer, as the bench file reaches it.

    Deadlines that the bench file leaves to their defaults are `LEISURE` at least: this computer answers for all
    instruments, and when it is busy that says nothing of the bench.

    Args:
        sleep: lets a time pass on the clock of the instruments; None is the computer's.
    """
    from instruments.transports import transport_to

    address = (entry.address or Address(resource=resource)).moved(resource)
    given = address.deadlines
    usual = {name: max(seconds, LEISURE) for name, seconds in given if name not in given.model_fields_set}
    deadlines = given.model_copy(update=usual)
    return transport_to(name, address, entry.declaration, deadlines=deadlines, sleep=sleep)


def can_fail(entry: Entry, instrument: Instrument) -> bool:
    """Return whether faults can be injected into the messages of an instrument: those of lines of text."""
    return entry.declaration.wire is Wire.TEXT and type(instrument).session is Instrument.session
