"""Addresses and keys that are secrets, found in texts that are published: files of a run, its journal, its messages.

Whoever has the address of a webhook can post to it. No rule knows every secret; these are the usual forms: a password
or a token before the host of an address, an address of a service that has its token in it (slack://, tgram://), a
webhook, a value of a query or behind a part of a path that is called token or key, a long random part of a path or a
UUID in it, which is how services that wait for a ping tell their users apart, a key `password:` with a value, a header
`Authorization:`, and a name with its password as curl takes it.
"""

import re

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,20})://([^\s\"'<>\\^`{|}\]]{1,2000})")
_BARE = re.compile(
    r"(?<![\w./@:-])((?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?::[0-9]{1,5})?/[^\s\"'<>\\^`{|}\]]{1,2000})"
)
"""An address without its scheme, as curl takes it: a host with a point in it, and a path."""
_PUBLIC = frozenset({"http", "https", "ftp", "file", "tcp", "tls", "udp", "ssh", "git", "doi", "urn"})
"""Schemes of addresses that have no secret by themselves."""
_LOGINS = frozenset({"ssh", "git"})
"""Schemes in which a name before the host is usual."""
_QUERY = re.compile(
    r"[?&#;](?:[a-z_-]*(?:token|key|secret|sig|signature|auth|password|passwd|pwd))=[^&#\s]", re.IGNORECASE
)
_IN_PATH = re.compile(r"/(?:(?:api-?)?key|token|secret)/[^/?#\s]{6,}|/bot[0-9]{5,}:[^/?#\s]{6,}", re.IGNORECASE)
_RANDOM = re.compile(r"[A-Za-z0-9_-]{20,}")
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}(?![0-9A-Za-z])", re.IGNORECASE)
_HEX = re.compile(r"(?<![0-9A-Za-z])(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{16,}(?![0-9A-Za-z])", re.IGNORECASE)
_COMMIT = re.compile(
    r"/(?:commits?|blob|tree|raw|archive|compare|objects?|gist|releases|src|rev)/|sha(?:1|256|512)[:=-]"
)
"""Of addresses in which a long hexadecimal number is that of a version and no secret."""
_PING = re.compile(
    r"(?:^|[/.-])(?:ping|heart-?beat|push|hc|health-?checks?|beat|snitch|nosnch|cron)[^/]{0,40}/"
    r"(?:[^/?#]{1,60}/){0,4}(?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{8,}",
    re.IGNORECASE,
)
"""An address that waits for a ping: whoever has it can say that all is well."""
_KEY = re.compile(
    r"(?:^|[\s{,\"'])(?:[a-z0-9]+[_-])*(?:password|passwd|passphrase|secret|token|"
    r"(?:api|access|integration|private|routing|signing)[_-]?key)[\"']?[ \t]*[:=][ \t]*"
    r"[\"']?([^\s\"'{}\[\],#]{6,})",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?<![A-Za-z-])(?:proxy-)?authorization[\"']?[ \t]*[:=][ \t]*[\"']?(?:(?:basic|bearer|digest|token)[ \t]+)?"
    r"(?!(?:basic|bearer|digest|token)\b)([^\s\"'{}\[\],#]{6,})",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"(?<!\S)[\"']?(?:-u|--user|--proxy-user)[\"']?(?:[ \t]*,)?[ \t=]*[\"']?[^\s:\"'=,]+:"
    r"(?![0-9]+\b|\.\.\.)([^\s\"',\]]{3,})"
)
"""A name with its password on a command line, or as two elements of a list; `-u 1000:1000` are numbers of users."""
_WORDS = ((_KEY, "a password or token"), (_HEADER, "a header with a token"), (_LOGIN, "a name with its password"))
"""Secrets that are no addresses, each as the first group."""


def secret_in(text: str) -> tuple[int, str]:
    """Return where in a text the first secret begins and what it is, without a part of it; (-1, "") if there is none.

    >>> secret_in("see https://www.python.org/downloads and doi://10.1103/x")
    (-1, '')
    >>> secret_in("to: https://me:canary@192.0.2.1/x")
    (4, 'an address with a password')
    >>> secret_in("# https://hc.example.org/3f2b1c9e-0d4a-4c1b-9a57-5f0c2d7e8a11")
    (2, 'the address of a ping')
    """
    found = [(match.start(), kind) for match in _ADDRESS.finditer(text) if (kind := _kind(match[1], match[2]))]
    found += [(match.start(), kind) for match in _BARE.finditer(text) if (kind := _kind("https", match[1]))]
    found += [(match.start(1), kind) for pattern, kind in _WORDS for match in pattern.finditer(text)]
    return min(found, default=(-1, ""))


def without_secrets(text: str) -> str:
    """Return a text in which "..." stands for each secret.

    >>> without_secrets("https://hooks.example.org/services/T0/B0 failed, token=c4n4ry0f")
    'https://... failed, token=...'
    """
    shown = _ADDRESS.sub(lambda match: f"{match[1]}://..." if _kind(match[1], match[2]) else match[0], text)
    shown = _BARE.sub(lambda match: "..." if _kind("https", match[1]) else match[0], shown)
    for pattern, _ in _WORDS:
        shown = pattern.sub(lambda match: match[0].removesuffix(match[1]) + "...", shown)
    return shown


def has_address(text: str) -> bool:
    """Return whether a text has an address in it, with or without its scheme.

    >>> has_address("curl -d@- example.org/our-topic"), has_address("./lab.d/tell"), has_address("lab@example.org")
    (True, False, False)
    """
    return "://" in text or _BARE.search(text) is not None


def without_addresses(text: str) -> str:
    """Return a text in which "..." stands for all of an address behind its scheme, and for other secrets.

    >>> without_addresses("curl: (7) https://ntfy.example.org/our-topic: refused")
    'curl: (7) https://... refused'
    """
    return without_secrets(_ADDRESS.sub(lambda match: f"{match[1]}://...", text))


def _kind(scheme: str, rest: str) -> str:
    """Return what kind of secret an address has, "" if none."""
    if rest.startswith("..."):  # taken out already
        return ""
    login, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    if at and (":" in login or scheme.lower() not in _LOGINS):
        return "an address with a password"
    if scheme.lower() not in _PUBLIC:
        return "an address of a message service"
    if re.search(r"hook", rest, re.IGNORECASE):
        return "the address of a webhook"
    if _PING.search(rest):
        return "the address of a ping"
    if _IN_PATH.search(rest):
        return "an address with a token"
    number = _UUID.search(rest) or _HEX.search(rest)
    if (number and not _COMMIT.search(rest)) or _QUERY.search(rest) or any(map(_is_random, _RANDOM.findall(rest))):
        return "an address with a token"
    return ""


def _is_random(part: str) -> bool:
    """Return whether part of an address is a token: long, of small and large letters and digits."""
    return all(any(map(kind, part)) for kind in (str.islower, str.isupper, str.isdigit))
