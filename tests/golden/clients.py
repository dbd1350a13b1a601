"""Other people's clients of instruments, connected to an emulated one."""

import socket
from typing import Any

import pytest

from tests.waiting import PATIENCE, until


def keithley2600(resource: str) -> Any:
    """Return a connected `Keithley2600` of the package of that name; the test is skipped without the package.

    A connection that fails leaves its driver without one and is told in its log only, so it is tried again until there
    is one.
    """
    package = pytest.importorskip("keithley2600", reason="keithley2600 is not installed (extra judges)")
    driver = package.Keithley2600(resource, raise_keithley_errors=True, timeout=1000 * PATIENCE, write_termination="\n")
    until(lambda: driver.connected or driver.connect())
    # 44 ms for every write before a query otherwise; the driver's own traffic stays as it is
    wire = driver.connection.visalib.sessions[driver.connection.session].interface
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return driver
