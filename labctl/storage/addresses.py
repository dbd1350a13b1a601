"""Identities of instruments by their addresses and by those of named hosts.

A host name is another way to write an address; its resolver may change its answer, or be unreachable at the moment at
which a bench is switched off. So an instrument that is addressed by name has several identities:
one by the name, and one by each address that the name has now.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from labctl.core.addresses import device_identity, literals, parts_of, plain
from labctl.core.transport import THROUGH
from labctl.core.units import Second


def identities(resources: Iterable[str], names: "Names | None" = None) -> dict[str, tuple[str, ...]]:
    """Return all identities of instruments by VISA address, `identity` first; takes no longer than `names` may.

    An instrument behind a gateway has those of the gateway too: two programs must not turn it to two addresses.

    Args:
        names: looks up the names of hosts; by default the system's, as the process knows them.
    """
    parts = {resource: parts_of(resource) for resource in resources}
    addresses = (names or NAMES).addresses(host for host, _ in parts.values() if host and not literals(host))
    every = {}
    for resource, (host, form) in parts.items():
        spellings = literals(host) or (host, *addresses.get(host, ()))
        gateway = resource.partition(THROUGH)[2]
        forms = [form, parts_of(gateway)[1]] if gateway else [form]
        keys = [one.format(spelling) for one in forms for spelling in spellings]
        every[resource] = tuple(dict.fromkeys([*keys, device_identity(gateway or resource)]))
    return every


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
            self._known[name] = tuple(sorted({plain(address) for address in self._lookup(name)}))
        except (OSError, ValueError):  # the earlier answer stays
            pass
        finally:
            answered.set()


def _resolved(host: str) -> list[str]:
    """Return the addresses of a host as the system knows them. Raises OSError, or UnicodeError for an invalid name."""
    return [str(sockaddr[0]) for *_, sockaddr in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


NAMES = Names()
"""Names of hosts as the system knows them, for the whole process."""
