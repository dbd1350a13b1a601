"""How an instrument is reached: keys of the bench file about its address, and what they say in operator words.

A raw socket, HiSLIP, VXI-11, a serial line, GPIB or USB of this computer follow from the VISA address; a GPIB address
behind a Prologix controller has the address of that beside it. What does not belong together is refused where the file
is read, since the wrong of two instruments could be reached.
"""

import re
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from instruments.transport import Deadlines
from labctl.core.model import Model
from labctl.core.transport import THROUGH

SERIAL_SUCH_AS = "ASRL/dev/ttyUSB0::INSTR"
GATEWAY_SUCH_AS = "TCPIP::192.0.2.30::1234::SOCKET"
TERMINATORS = {"lf": "\n", "cr": "\r", "crlf": "\r\n"}
_GPIB = re.compile(r"GPIB\d*::(\d{1,3})(?:::(\d{1,3}))?(?:::INSTR)?", re.IGNORECASE)
_GATEWAY = re.compile(r"TCPIP\d*::.+::\d+::SOCKET|ASRL.+", re.IGNORECASE)


class Carrier(StrEnum):
    """What carries the commands of an instrument."""

    SOCKET = "raw socket"
    HISLIP = "HiSLIP"
    VXI11 = "VXI-11"
    SERIAL = "serial line"
    GATEWAY = "GPIB, through a Prologix controller"
    GPIB = "GPIB of this computer"
    USB = "USB"
    OTHER = "VISA"


def carrier_of(resource: str, gateway: str | None = None) -> Carrier:
    """Return what carries the commands of an instrument by its VISA address, and that of its gateway.

    >>> carrier_of("TCPIP::192.0.2.11::hislip0::INSTR").value, carrier_of("TCPIP::192.0.2.11::INSTR").value
    ('HiSLIP', 'VXI-11')
    """
    text = resource.upper()
    if gateway is not None:
        return Carrier.GATEWAY
    if text.startswith("TCPIP"):
        if text.endswith("::SOCKET"):
            return Carrier.SOCKET
        return Carrier.HISLIP if "::HISLIP" in text else Carrier.VXI11
    for start, carrier in (("ASRL", Carrier.SERIAL), ("GPIB", Carrier.GPIB), ("USB", Carrier.USB)):
        if text.startswith(start):
            return carrier
    return Carrier.OTHER


class SerialLine(Model):
    """Settings of a serial line: as they are set at the instrument, or at the gateway."""

    baud: int = Field(default=9600, ge=50, le=4_000_000, description="symbols per second")
    data_bits: Literal[7, 8] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    flow_control: Literal["none", "xon_xoff", "rts_cts"] = "none"
    terminator: Literal["lf", "cr", "crlf"] = Field(
        default="lf",
        description="what ends messages and replies of the instrument: LF, CR, or CR LF",
    )

    @property
    def end(self) -> str:
        """The terminator."""
        return TERMINATORS[self.terminator]

    @property
    def seconds_per_byte(self) -> float:
        """Time that a byte is on the line, s."""
        return (1 + self.data_bits + (self.parity != "none") + self.stop_bits) / self.baud

    @property
    def on_the_wire(self) -> str:
        """The settings without the terminator, in operator words."""
        flow = {"none": "no flow control", "xon_xoff": "XON/XOFF", "rts_cts": "RTS/CTS"}[self.flow_control]
        return f"{self.baud} baud, {self.data_bits}{self.parity[0].upper()}{self.stop_bits}, {flow}"

    @property
    def text(self) -> str:
        """The settings in operator words.

        >>> SerialLine(baud=19200, parity="even", data_bits=7).text
        '19200 baud, 7E1, no flow control, messages end with LF'
        """
        return f"{self.on_the_wire}, messages end with {self.terminator.upper()}"


class Address(Model):
    """Keys of an instrument at an address."""

    resource: str = Field(min_length=1, description="VISA address; nothing is searched for")
    backend: str = Field(default="@py", description="pyvisa backend; empty for the system's VISA")
    gateway: str | None = Field(
        default=None,
        description="VISA address of the Prologix controller on whose bus the instrument is; instruments share it, "
        f"such as {GATEWAY_SUCH_AS}",
    )
    rs232: SerialLine | None = Field(
        default=None, description="settings of the serial line to the instrument, or to its gateway"
    )
    deadlines: Deadlines = Deadlines()
    dead_socket: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="[M] port at which it drops the raw sockets that it still holds; by default that of the driver",
    )

    @field_validator("gateway")
    @classmethod
    def _carries_gpib(cls, value: str | None, info: ValidationInfo) -> str | None:
        resource = info.data.get("resource")
        if value is None or resource is None:
            return value
        gpib_address(resource)
        if _GATEWAY.fullmatch(value) is None:
            raise ValueError(f"found '{value}', expected the VISA address of a controller such as {GATEWAY_SUCH_AS}")
        return value

    @field_validator("rs232")
    @classmethod
    def _is_serial(cls, value: SerialLine | None, info: ValidationInfo) -> SerialLine | None:
        resource = info.data.get("gateway") or info.data.get("resource")
        if value is not None and resource is not None and carrier_of(resource) is not Carrier.SERIAL:
            raise ValueError(
                f"found settings of a serial line for {resource}, which is none; expected an address such as "
                f"{SERIAL_SUCH_AS}, or no rs232"
            )
        return value

    @property
    def carrier(self) -> Carrier:
        """What carries its commands."""
        return carrier_of(self.resource, self.gateway)

    @property
    def line(self) -> SerialLine:
        """Settings of the serial line; their defaults where the file has none."""
        return self.rs232 or SerialLine()

    @property
    def whole(self) -> str:
        """The address in one text, with that of the gateway."""
        return self.resource if self.gateway is None else f"{self.resource}{THROUGH}{self.gateway}"

    @property
    def text(self) -> str:
        """How the instrument is reached, in operator words."""
        match self.carrier:
            case Carrier.SERIAL:
                return f"serial line, {self.line.text}"
            case Carrier.GATEWAY:
                assert self.gateway is not None
                serial = carrier_of(self.gateway) is Carrier.SERIAL
                settings = f" ({self.line.on_the_wire})" if serial else ""
                return f"GPIB address {gpib_address(self.resource)} through the controller at {self.gateway}{settings}"
            case Carrier.GPIB | Carrier.USB | Carrier.OTHER as carrier:
                return f"{carrier}, by {self.backend or 'the VISA library of the system'}"
            case carrier:
                return carrier.value

    def moved(self, whole: str) -> Self:
        """Return this address at another place of the same kind, such as one on this computer."""
        resource, _, gateway = whole.partition(THROUGH)
        serial = carrier_of(gateway or resource) is Carrier.SERIAL
        changed = {"resource": resource, "gateway": gateway or None, "backend": "@py", "dead_socket": None}
        return self.model_copy(update={**changed, "rs232": self.line if serial else None})


def gpib_address(resource: str) -> str:
    """Return a GPIB address as a Prologix controller spells it; ValueError if `resource` has none.

    >>> gpib_address("GPIB0::24::INSTR"), gpib_address("GPIB::9::2::INSTR")
    ('24', '9 98')
    """
    match = _GPIB.fullmatch(resource.strip())
    if match is None:
        raise ValueError(
            f"found a gateway for '{resource}', which has no GPIB address; expected a resource such as GPIB::24::INSTR"
        )
    primary = int(match[1])
    if primary > 30:
        raise ValueError(f"found GPIB address {primary} in '{resource}', expected 0 to 30")
    if match[2] is None:
        return str(primary)
    secondary = int(match[2])
    secondary += 96 if secondary <= 30 else 0
    if not 96 <= secondary <= 126:
        raise ValueError(f"found secondary GPIB address {match[2]} in '{resource}', expected 0 to 30, or 96 to 126")
    return f"{primary} {secondary}"
