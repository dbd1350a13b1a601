"""A switch matrix that somebody else wrote, in the dialect of the 707B.

Verified against: the contract of matrices, and the emulated 707B.
"""

import re
from typing import Literal

from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.model import Model
from labctl.core.switch_matrix import refuse
from labctl.core.transport import Wait

CLOSED = 'print(channel.getclose("allslots"))'


class Options(Model):
    """Options in the bench file."""

    model: Literal["707B", "708B"] = "707B"


def spell(row, column):
    """Return the crosspoint of a row such as A and a column such as 1-05."""
    if not re.fullmatch("[A-H]", row) or not re.fullmatch(r"[1-6]-(0[1-9]|1[0-2])", column):
        raise ValueError(f"'{row}' and '{column}' are no row and column such as A and 1-05")
    return f"{column[0]}{row}{column[2:]}"


class Relays:
    def __init__(self, name, options, wire):
        self.name, self.permit, self._wire = name, refuse, wire

    def connect(self):
        identity = self._wire.query("*IDN?").strip()
        self.closed()
        return identity

    def closed(self):
        reply = self._wire.query(CLOSED).strip()
        return frozenset() if reply == "nil" else frozenset(reply.split(";"))

    def route(self, closed):
        wanted, present = frozenset(closed), self.closed()
        if wanted == present:
            return
        self.permit()
        for verb, relays in (("open", present - wanted), ("close", wanted - present)):
            if relays:
                self._wire.write(f'channel.{verb}("{",".join(sorted(relays))}") waitcomplete()')
        errors = self._wire.query("print(errorqueue.count) errorqueue.clear()", wait=Wait.RELAY)
        after = self.closed()
        if after != wanted or float(errors):
            raise InstrumentError(f"{self.name}: {sorted(after)} are closed; {sorted(wanted)} were asked for")

    def close(self):
        self._wire.close()


DRIVER = Driver(DriverKind.MATRIX, Relays, Options, scheme=lambda options: spell, emulator="keithley707b")
