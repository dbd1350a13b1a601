"""The transport to an instrument at an address of the bench file, by what carries its commands."""

from collections.abc import Callable
from typing import Any

from instruments.carrier import Address, Carrier, carrier_of, gpib_address
from instruments.gateway_transport import GatewayTransport, gateway_at
from instruments.serial_line import SerialTransport
from instruments.transport import Deadlines, LineTransport, Log
from instruments.visa import VisaTransport
from labctl.core.driver import Driver
from labctl.core.units import Second


def transport_to(
    name: str,
    address: Address,
    driver: Driver,
    *,
    deadlines: Deadlines | None = None,
    log: Log | None = None,
    dead_socket: int | None = None,
    sleep: Callable[[Second], None] | None = None,
) -> LineTransport:
    """Return the transport to an instrument, which opens when it is first used.

    Args:
        name: in the bench file.
        driver: declares how the instrument is spoken to.
        deadlines: None is those of the address.
        log: receives every byte.
        dead_socket: port at which the instrument drops the raw sockets that it still holds; None if it has none.
        sleep: lets a time pass, s; None is the computer's clock.

    Raises:
        BenchError: the controller that it is behind is in use with other settings.
    """
    others: dict[str, Any] = {
        "called": name,
        "probe": driver.probe,
        "terminator": driver.terminator,
        "deadlines": deadlines or address.deadlines,
        "log": log,
        "sleep": sleep,
    }
    if address.carrier is Carrier.GATEWAY:
        assert address.gateway is not None
        line = address.line if carrier_of(address.gateway) is Carrier.SERIAL else None
        gateway = gateway_at(address.gateway, address.backend, line)
        return GatewayTransport(address.whole, gateway, gpib_address(address.resource), **others)
    if address.carrier is Carrier.SERIAL:
        clear = driver.serial_clear
        return SerialTransport(address.resource, address.line, clear=clear, backend=address.backend, **others)
    return VisaTransport(address.resource, backend=address.backend, dead_socket=dead_socket, **others)
