"""Who may see the page: names by which it may be asked for, the token, and what a browser may do with an answer.

A page on 127.0.0.1 can be reached by every other page that the same browser has open, if its owner lets a name of the
own point there (DNS rebinding). So the name that a browser asks for has to be one of ours. Beyond this computer nobody
sees anything without the token.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

COOKIE = "labctl-page"
_HERE = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::[0-9]{1,5})?")
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Of every answer: it loads nothing from elsewhere, stands in no frame, and is kept by nobody."""


def is_loopback(address: str) -> bool:
    """Return whether an address is one of this computer alone.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("192.0.2.5")
    (True, True, False, False)
    """
    return ipaddress.ip_address(address).is_loopback


def host_of(header: str) -> str:
    """Return the name of a Host header without its port, in small letters; "" if it is none.

    >>> host_of("Lab3.example.org:8642"), host_of("[::1]:8642"), host_of("a b"), host_of("")
    ('lab3.example.org', '::1', '', '')
    """
    match = _HOST.fullmatch(header)
    return "" if match is None else (match["six"] or match["name"]).lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Access:
    """What a request has to have.

    Args:
        names: by which the page may be asked for, besides those of this computer; the address that it is bound to too.
        token: "" if everybody who reaches the page may see it.
        anywhere: the page is bound beyond this computer, so any address may be asked for; no name stands for one.
    """

    names: frozenset[str] = frozenset()
    token: str = ""
    anywhere: bool = False

    @classmethod
    def of(cls, address: str, names: Iterable[str] = (), token: str = "") -> "Access":
        """Return what requests have to have of a page that is bound to `address`.

        Raises:
            ValueError: it is bound beyond this computer, and there is no token.
        """
        anywhere = not is_loopback(address)
        if anywhere and not token:
            raise ValueError(f"a page on {address} needs a token")
        return cls(frozenset(name.lower().rstrip(".") for name in (address, *names)), token, anywhere)

    def knows(self, host: str) -> bool:
        """Return whether the page may be asked for by the Host header `host`."""
        name = host_of(host)
        return name in _HERE or name in self.names or (self.anywhere and _is_address(name))

    def admits(self, token: str) -> bool:
        """Return whether a token is the right one; how long that takes does not depend on it."""
        return not self.token or hmac.compare_digest(_digest(token), _digest(self.token))

    @property
    def pass_(self) -> str:
        """What the cookie of somebody has who had the token; the token cannot be told from it."""
        return hmac.new(self.token.encode(), b"labctl serve", hashlib.sha256).hexdigest()

    def is_let_in(self, cookie: str, authorization: str) -> bool:
        """Return whether a request may see runs, by its headers Cookie and Authorization."""
        if not self.token:
            return True
        kind, _, token = authorization.partition(" ")
        if kind.lower() == "bearer" and self.admits(token.strip()):
            return True
        try:
            passed = SimpleCookie(cookie).get(COOKIE)
        except CookieError:
            return False
        return passed is not None and hmac.compare_digest(_digest(passed.value), _digest(self.pass_))


def _digest(text: str) -> bytes:
    """Return a digest, so that texts of all lengths and letters are compared in the same time."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
