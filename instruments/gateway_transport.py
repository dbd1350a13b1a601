"""Transports to instruments behind a Prologix controller: each shares the one connection of this process to it.

A controller is open while an instrument of it is in use, and is one for all of them, however its address is spelt. What
it was verified against: `instruments.gateway`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from instruments.carrier import SerialLine
from instruments.gateway import Gateway
from instruments.serial_line import SerialTransport
from instruments.transport import LineTransport
from instruments.visa import VisaTransport
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.units import Second

MAV = 16
"""Bit of a status byte: a message is available."""
MOST_LEFT = 16
"""Responses that are read away at first."""


class GatewayTransport(LineTransport):
    """A transport to one instrument on the bus of a controller.

    Args:
        gateway: shared with the other instruments of its bus.
        address: on the bus, as the controller spells it.

    Other arguments as in `LineTransport`.
    """

    def __init__(self, name: str, gateway: Gateway, address: str, **others: Any) -> None:
        super().__init__(name, **others)
        self._short = others.get("called") or name
        self._gateway, self._address, self._used = gateway, address, False
        self._stale = True  # it has not been connected to
        self.join()

    def join(self) -> None:
        """Be a user of the controller, so that it stays open; BenchError if others use it with other settings."""
        with _lock:
            if self not in self._gateway.users:
                self._gateway = _listed(self._gateway)
                self._gateway.users.add(self)

    def status_byte(self) -> int:
        """Return the status byte by a serial poll."""
        return self._gateway.status_byte(self._address)

    def close(self) -> None:
        """End the conversation; the controller stays open for other instruments, and closes with the last."""
        with self._lock:
            with _lock:
                self._gateway.users.discard(self)
            _drop_unused(self._gateway)

    def _send(self, data: bytes, deadline: float) -> None:
        seconds = min(self.deadlines.setting, deadline - time.monotonic())  # others wait for the controller meanwhile
        with self._named():
            self._gateway.deliver(self._address, data.removesuffix(b"\n"), seconds=seconds)

    def _says_more(self) -> bool:
        return bool(self._pending)

    def _transit(self, size: int) -> Second:
        return size * self._gateway.seconds_per_byte

    def _receive(self, deadline: float) -> bytes:
        while time.monotonic() < deadline:
            with self._named():
                data, end = self._gateway.fetch(self._address)
            if data or end:
                return data if not end or data.endswith(b"\n") else data + b"\n"
            time.sleep(1e-3)  # whoever waits for the controller is next
        raise LinkTimeoutError(f"{self._called} is silent")

    def _reopen(self) -> None:
        """Drop what this session has under way by a device clear; at first only read what somebody has left unread."""
        with self._named():
            if self._used:
                self._gateway.deliver(self._address, b"", clear=True)
                return
            for _ in range(MOST_LEFT):
                if not self.status_byte() & MAV:
                    break
                if self._gateway.fetch(self._address) == (b"", False):
                    break  # this bit of its status byte is something else
            self._used = True

    def _break_in(self) -> None:
        """Reach the instrument by a device clear, over a fresh connection to the controller if it does not answer."""
        self._used = True
        with self._named():
            try:
                self._gateway.deliver(self._address, b"", clear=True)
            except InstrumentError:
                self._gateway.deliver(self._address, b"", clear=True)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Keep the controller open, and name the instrument in its errors."""
        self.join()
        try:
            yield
        except InstrumentError as error:
            raise type(error)(f"{self._short}: {error}") from error


_gateways: dict[str, Gateway] = {}
"""Controllers of this process, by their key."""
_lock = threading.Lock()


def gateway_at(resource: str, backend: str, line: SerialLine | None) -> Gateway:
    """Return this process's only connection to the controller at an address; it opens when it is first used.

    Raises:
        BenchError: it is in use with another backend, or other settings of its serial line.
    """
    given: dict[str, Any] = {"called": "the controller", "backend": backend, "probe": None, "terminator": ""}
    if line is None:
        carrier = VisaTransport(resource, **given)
    else:  # the terminator of an instrument is not the controller's
        carrier = SerialTransport(resource, line.model_copy(update={"terminator": "lf"}), **given)
    with _lock:
        return _listed(Gateway(carrier, backend, line))


def _listed(gateway: Gateway) -> Gateway:
    """Return the controller of this process that is the same one, which `gateway` becomes if none is in use."""
    present = _gateways.setdefault(gateway.key, gateway)
    if present.settings == gateway.settings:
        return present
    if present.users:
        raise BenchError(
            f"{gateway.name} is given two settings: {present.settings}, and {gateway.settings}; expected the same "
            "backend and the same rs232 at each of its instruments"
        )
    present.drop()
    _gateways[gateway.key] = gateway
    return gateway


def _drop_unused(gateway: Gateway) -> None:
    """Close a controller that has no users, and forget it unless it has got one meanwhile."""
    if gateway.users:
        return
    gateway.drop()
    with _lock:
        if not gateway.users and _gateways.get(gateway.key) is gateway:
            del _gateways[gateway.key]
