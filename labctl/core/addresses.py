"""Addresses of instruments: one text for all ways to write the VISA address of one."""

import ipaddress
import os
import re
import socket
from contextlib import suppress

from labctl.core.transport import THROUGH

_DOORS = {"23", "5024", "5025", "5030"}
"""Ports of plain sockets at which an instrument answers that also answers to ``TCPIP::host::INSTR``."""


def identity(resource: str) -> str:
    """Return one text for all ways to write the VISA address of one instrument; names of hosts are not looked up.

    >>> identity("tcpip::192.0.2.5::inst0::INSTR"), identity("TCPIP0::192.000.002.005.:: 05025::SOCKET")
    ('TCPIP 192.0.2.5', 'TCPIP 192.0.2.5')
    >>> identity("GPIB::05::INSTR"), identity("TCPIP::[2001:DB8:0::7]::4001::SOCKET")
    ('GPIB0 5', 'TCPIP 2001:db8::7 4001')
    >>> identity("USB0::0x05E6::9730::04A::INSTR"), identity("tcpip::SMU.lab.example::hislip0")
    ('USB 1510 9730 04A', 'TCPIP smu.lab.example')
    >>> identity("GPIB0::24::INSTR through TCPIP::192.0.2.30::1234::SOCKET")
    'TCPIP 192.0.2.30 1234 GPIB 24'
    """
    host, form = parts_of(resource)
    return form.format(literals(host)[0] if literals(host) else host)


def device_identity(resource: str) -> str:
    """Return the identity by the device file itself, if a serial port is addressed by a link to it; else `identity`."""
    path = re.fullmatch(r"(?i)\s*ASRL\s*(/.*?)\s*(::INSTR)?\s*", resource)
    return identity(f"ASRL{os.path.realpath(path[1])}::INSTR" if path else resource)


def parts_of(resource: str) -> tuple[str, str]:
    """Return the host of an address, "" if it has none, and its identity with {} where the host stands."""
    on_bus, _, gateway = resource.partition(THROUGH)
    if gateway:
        host, form = parts_of(gateway)
        return host, f"{form} {re.sub(r'^GPIB[0-9]+', 'GPIB', parts_of(on_bus)[1])}"
    first, *rest = (part.strip() for part in resource.strip().upper().replace("{", "(").replace("}", ")").split("::"))
    kind = rest.pop() if rest and rest[-1] in ("INSTR", "SOCKET", "RAW") else "INSTR"
    if re.fullmatch(r"TCPIP\d*", first) and rest:
        # the parts after the host are another port of the same instrument, or one of several behind a gateway
        host, door = _host(rest)
        if port := re.fullmatch(r"([^,]*),(\d+)", host):  # a VXI-11 port that no portmapper tells
            host = port[1]
        door = [_number(part) for part in door]
        same = door and (door[0] in _DOORS if kind == "SOCKET" else re.match(r"((INST|HISLIP)0?)?(,|$)", door[0]))
        return host, " ".join(["TCPIP", "{}", *(door[1:] if same else door)])
    if first.startswith("USB") and len(rest) >= 3:  # vendor, product, serial number, and an interface if not the first
        vendor, product, serial, *interface = rest
        more = [n for n in map(_number, interface) if n != "0"]
        return "", " ".join(["USB", _usb_id(vendor), _usb_id(product), serial, *more])
    board = re.fullmatch(r"(GPIB|USB|ASRL)(?:COM)?(\d*)", first)
    rest = [_number(part) for part in rest]
    if board and board[1] == "GPIB" and rest[1:] == ["0"]:  # how a program writes that there is no secondary address
        rest.pop()
    return "", " ".join([f"{board[1]}{int(board[2] or 0)}" if board else first, *rest])


def _host(rest: list[str]) -> tuple[str, list[str]]:
    """Return the host, in lower case, and the parts after it; an IPv6 address has the separator of VISA in itself."""
    joined = "::".join(rest)
    if bracketed := re.match(r"\[([^\]]*)\](?:::|$)", joined):
        door = joined[bracketed.end() :]
        return _bare(bracketed[1]), door.split("::") if door else []
    if ":" in rest[0] or not rest[0]:
        for length in range(len(rest), 0, -1):
            if literals(_bare("::".join(rest[:length]))):
                return _bare("::".join(rest[:length])), rest[length:]
    return _bare(rest[0]), rest[1:]


def _bare(host: str) -> str:
    return host.strip().lower().removesuffix(".")


def _number(text: str) -> str:
    """Return `text` without the zeros that lead its numbers, and without blanks.

    >>> _number("GPIB0, 05"), _number("0010"), _number("0")
    ('GPIB0,5', '10', '0')
    """
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"\s", "", text))


def _usb_id(text: str) -> str:
    """Return the id of a vendor or product as a decimal number; it is written as one, or in hexadecimal digits."""
    with suppress(ValueError):
        return str(int(text, 16 if text.startswith("0X") or not text.isdecimal() else 10))
    return text


def literals(host: str) -> tuple[str, ...]:
    """Return the IP addresses that a numeric host may mean, the likeliest first; empty for a name.

    VISA takes 192.0.2.011 for a decimal number, and the sockets of many systems for an octal one: it is both.

    >>> literals("192.0.2.011"), literals("::ffff:192.0.2.11"), literals("::1"), literals("smu")
    (('192.0.2.11', '192.0.2.9'), ('192.0.2.11',), ('127.0.0.1',), ())
    """
    every = []
    parts = host.split(".")
    if len(parts) == 4 and all(part.isascii() and part.isdecimal() and int(part) < 256 for part in parts):
        every.append(".".join(str(int(part)) for part in parts))
    with suppress(OSError, UnicodeError, ValueError):
        if re.fullmatch(r"[0-9a-fx.]+", host) and host[0].isdecimal():
            every.append(socket.inet_ntoa(socket.inet_aton(host)))
    with suppress(ValueError):
        every.append(plain(host))
    return tuple(dict.fromkeys(every))


def plain(address: str) -> str:
    """Return an IP address in its one form, without the zone; ValueError if it is none."""
    one = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(one, ipaddress.IPv6Address):
        mapped = ipaddress.IPv4Address("127.0.0.1") if one.is_loopback else one.ipv4_mapped
        return str(mapped or one)
    return str(one)
