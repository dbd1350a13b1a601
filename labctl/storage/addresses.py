"""Addresses of instruments: one text for all ways to write the VISA address of one, and addresses of named hosts.

A host name is another way to write an address; its resolver may change its answer, or be unreachable at the moment at
which a bench is switched off. So an instrument that is addressed by name has several identities:
one by the name, and one by each address that the name has now.
"""

import ipaddress
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from labctl.core.transport import THROUGH
from labctl.core.units import Second

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
    host, form = _parts(resource)
    return form.format(_literals(host)[0] if _literals(host) else host)


def identities(resources: Iterable[str], names: "Names | None" = None) -> dict[str, tuple[str, ...]]:
    """Return all identities of instruments by VISA address, `identity` first; takes no longer than `names` may.

    An instrument behind a gateway has those of the gateway too: two programs must not turn it to two addresses.

    Args:
        names: looks up the names of hosts; by default the system's, as the process knows them.
    """
    parts = {resource: _parts(resource) for resource in resources}
    addresses = (names or NAMES).addresses(host for host, _ in parts.values() if host and not _literals(host))
    every = {}
    for resource, (host, form) in parts.items():
        spellings = _literals(host) or (host, *addresses.get(host, ()))
        gateway = resource.partition(THROUGH)[2]
        forms = [form, _parts(gateway)[1]] if gateway else [form]
        keys = [one.format(spelling) for one in forms for spelling in spellings]
        every[resource] = tuple(dict.fromkeys([*keys, *_device(gateway or resource)]))
    return every


def _parts(resource: str) -> tuple[str, str]:
    """Return the host of an address, "" if it has none, and its identity with {} where the host stands."""
    on_bus, _, gateway = resource.partition(THROUGH)
    if gateway:
        host, form = _parts(gateway)
        return host, f"{form} {re.sub(r'^GPIB[0-9]+', 'GPIB', _parts(on_bus)[1])}"
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
            if _literals(_bare("::".join(rest[:length]))):
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


def _literals(host: str) -> tuple[str, ...]:
    """Return the IP addresses that a numeric host may mean, the likeliest first; empty for a name.

    VISA takes 192.0.2.011 for a decimal number, and the sockets of many systems for an octal one: it is both.

    >>> _literals("192.0.2.011"), _literals("::ffff:192.0.2.11"), _literals("::1"), _literals("smu")
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
        every.append(_plain(host))
    return tuple(dict.fromkeys(every))


def _plain(address: str) -> str:
    """Return an IP address in its one form, without the zone; ValueError if it is none."""
    one = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(one, ipaddress.IPv6Address):
        mapped = ipaddress.IPv4Address("127.0.0.1") if one.is_loopback else one.ipv4_mapped
        return str(mapped or one)
    return str(one)


def _device(resource: str) -> tuple[str, ...]:
    """Return the identity by the device file itself, if a serial port is addressed by a link to it."""
    path = re.fullmatch(r"(?i)\s*ASRL\s*(/.*?)\s*(::INSTR)?\s*", resource)
    return (identity(f"ASRL{os.path.realpath(path[1])}::INSTR"),) if path else ()


class Names:
    """Names of hosts, looked up without ever waiting long: a name that is not resolved in time has no address yet.

    Args:
        lookup: returns the IP addresses of a host; raises OSError if it has none.
        bound: how long one call may take, s, however many names it has; one that hangs is waited for once.
        kept: how long an answer counts, s on `clock`.
    """

    def __init__(
        self,
        lookup: Callable[[str], Iterable[str]] | None = None,
        *,
        bound: Second = 1.0,
        kept: Second = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup, self._bound, self._kept, self._clock = lookup or _resolved, bound, kept, clock
        self._known: dict[str, tuple[str, ...]] = {}
        self._lookups: dict[str, tuple[threading.Event, float]] = {}

    def addresses(self, hosts: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the addresses of names of hosts, as far as they are known within the bound."""
        names = tuple(dict.fromkeys(hosts))
        pending = [self._look_up(name) for name in names if self._is_due(name)]
        end = time.monotonic() + self._bound
        for answered in pending:
            answered.wait(max(0.0, end - time.monotonic()))
        return {name: self._known.get(name, ()) for name in names}

    def _is_due(self, name: str) -> bool:
        if name not in self._lookups:
            return True
        answered, at = self._lookups[name]
        return answered.is_set() and self._clock() - at >= self._kept

    def _look_up(self, name: str) -> threading.Event:
        answered = threading.Event()
        self._lookups[name] = answered, self._clock()
        # a daemon: the process does not wait at its end for a resolver that hangs
        threading.Thread(target=self._answer, args=(name, answered), name=f"look up {name}", daemon=True).start()
        return answered

    def _answer(self, name: str, answered: threading.Event) -> None:
        try:
            self._known[name] = tuple(sorted({_plain(address) for address in self._lookup(name)}))
        except (OSError, ValueError):  # the earlier answer stays
            pass
        finally:
            answered.set()


def _resolved(host: str) -> list[str]:
    """Return the addresses of a host as the system knows them. Raises OSError, or UnicodeError for an invalid name."""
    return [str(sockaddr[0]) for *_, sockaddr in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


NAMES = Names()
"""Names of hosts as the system knows them, for the whole process."""
