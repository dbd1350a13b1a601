"""Locks of instruments: one program at a time on each, whatever bench file names it; a refusal names the holder.

They are locks as `labctl.storage.locks` has them, on files in one folder for all users of a computer.
"""

import contextlib
import errno
import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from labctl.core.errors import BenchError
from labctl.core.units import Second
from labctl.storage.addresses import Names, identities
from labctl.storage.locks import Holder, Lock

VARIABLE = "LABCTL_LOCKS"
"""Environment variable that names another folder for the locks of instruments; all users of a bench have to agree."""


class HasInstruments(Protocol):
    """A bench file, as far as locks are concerned."""

    @property
    def name(self) -> str:
        """Name of the bench."""
        ...

    @property
    def instruments(self) -> Mapping[str, Any]:
        """Its instruments by name; those that have a `resource` can be reached by others too."""
        ...


@contextmanager
def bench_lock(
    bench: HasInstruments,
    what: str,
    *,
    part: str = "",
    patience: Second = 0.5,
    place: Path | None = None,
    names: Names | None = None,
) -> Iterator[Holder]:
    """Hold every instrument of `bench` on this computer while the block lasts, whatever file describes it.

    Two benches that share one instrument exclude each other. Programs on other computers are not seen.

    Args:
        part: "worker" for the process that talks to the instruments; it excludes other workers, not its parent.
        place: folder of the locks, by default one that all users of this computer share.
        names: looks up names of hosts, by default as the system does.

    Raises:
        BenchError: an instrument is held, naming it and the holder; or a lock cannot be made.
    """
    place = place or locks_folder()
    make_shared(place)
    with ExitStack() as stack:
        me = Holder.me(what)
        for lock in _locks(bench, part, place, names):
            stack.enter_context(lock.held(what, patience))
        yield me


def holders(
    bench: HasInstruments, *, part: str = "", place: Path | None = None, names: Names | None = None
) -> list[Holder]:
    """Return the holders of instruments of `bench`, each once; empty if all are free. Changes nothing.

    Args:
        part, place, names: as of `bench_lock`.

    Raises:
        BenchError: a lock file cannot be read.
    """
    every = (lock.holder() for lock in _locks(bench, part, place or locks_folder(), names))
    return list({(holder.host, holder.pid): holder for holder in every if holder is not None}.values())


def _locks(bench: HasInstruments, part: str, place: Path, names: Names | None) -> list[Lock]:
    """Return the locks of all instruments of a bench, in the order in which they are taken."""
    return [
        Lock(place / f"{file_name(key)}{part and '.'}{part}.lock", f"{instrument} of bench '{bench.name}'", shared=True)
        for key, instrument in sorted(reached(bench, names).items())
    ]


def reached(bench: HasInstruments, names: Names | None = None) -> dict[str, str]:
    """Return the instruments of `bench` that have an address: name and address in operator words, by identity.

    An instrument that is addressed by the name of a host is there by that name and by every address that it has now.

    Args:
        names: looks up names of hosts, by default as the system does.
    """
    every = {name: getattr(entry, "resource", None) for name, entry in bench.instruments.items()}
    resources = {name: resource for name, resource in every.items() if resource}
    keys = identities(resources.values(), names)
    return {key: f"{name} ({resource})" for name, resource in resources.items() for key in keys[resource]}


def file_name(key: str) -> str:
    """Return the name, without suffix, of files about the instrument with the identity `key`.

    >>> file_name("TCPIP 192.0.2.5 4001")
    'TCPIP-192.0.2.5-4001-2e636596'
    """
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', key)[:60]}-{digest}"


def locks_folder() -> Path:
    """Return the folder of the locks of instruments: one for all users of a computer, so not the folder for
    temporary files, of which every user has another on Windows and macOS. `VARIABLE` names another one.
    """
    return Path(named) if (named := os.environ.get(VARIABLE)) else default_locks_folder()


def default_locks_folder() -> Path:
    """Return the folder of the locks where no variable names another one."""
    if sys.platform == "win32":
        return Path(os.environ.get("PUBLIC", r"C:\Users\Public"), "Documents", "mtj-labctl-locks")
    return Path("/var/tmp/mtj-labctl-locks")


def unusable(place: Path | None = None) -> str:
    """Return why this user cannot use the folder of the locks; "" if it can be searched.

    It is missing, it is no folder, or this user may not enter it.
    """
    place = place or locks_folder()
    try:
        if not stat.S_ISDIR(place.lstat().st_mode):
            return f"{place} is not a folder"
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    return "" if os.access(place, os.X_OK) else f"{place}: {os.strerror(errno.EACCES)}"


def make_shared(place: Path) -> None:
    """Create the folder `place`, writable by all users, if it is missing. Raises BenchError."""
    try:
        with contextlib.suppress(FileExistsError):
            place.mkdir(parents=True)
            if os.name == "posix":
                place.chmod(0o1777)
        if not stat.S_ISDIR(place.lstat().st_mode):
            raise BenchError(f"{place} is not a folder; locks of instruments are kept there: remove it")
    except OSError as error:
        raise BenchError(f"{place}: locks of instruments are kept there, and it cannot be made: {error}") from error
