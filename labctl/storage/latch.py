"""The latch of a bench: `labctl off` sets it, and no output of its instruments goes on before it is released.

One small file per instrument, beside the locks: two bench files that share an instrument share its latch. One that is
addressed by the name of a host has a file for the name and one for each address that the name has. A file that is
not empty is a latch that is set, whatever its text; releasing it empties the file. In the shared folder no user can
remove the file of another, and every user may write to it.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from labctl.core.errors import BenchError, SwitchedOff
from labctl.storage.addresses import Names
from labctl.storage.arrays import sync, sync_folder
from labctl.storage.bench_locks import (
    HasInstruments,
    default_locks_folder,
    file_name,
    locks_folder,
    make_shared,
    reached,
)
from labctl.storage.locks import Holder, open_or_create, open_plain

_MOST = 1 << 16
"""Bytes read from a latch file, at most."""


@dataclass(frozen=True)
class Latch:
    """A latch that is set: by user, host, process, when, in s UTC since 1970, and why."""

    user: str = ""
    host: str = ""
    pid: int = 0
    utc: float = 0.0
    reason: str = ""

    @classmethod
    def mine(cls, reason: str, utc: float) -> Self:
        """Return the latch that this process sets at `utc`."""
        me = Holder.me("labctl off")
        return cls(me.user, me.host, me.pid, utc, reason)

    @property
    def by(self) -> str:
        """Who set it, as user@host."""
        return f"{self.user}@{self.host}" if self.user else "somebody who could not leave a name"

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        if not self.user:
            return f"switched off by {self.by}{why}"
        since, now = time.localtime(self.utc), time.localtime()
        form = "%H:%M" if since[:3] == now[:3] else "%Y-%m-%d %H:%M"
        return f"switched off by {self.user} on {self.host} (pid {self.pid}) at {time.strftime(form, since)}{why}"


def latch_files(bench: HasInstruments, place: Path | None = None, names: Names | None = None) -> tuple[Path, ...]:
    """Return the files of the latch of `bench`, one per identity of an instrument; they need not be there.

    Args:
        place: their folder, by default that of the locks.
        names: looks up names of hosts, by default as the system does.
    """
    place = place or locks_folder()
    return tuple(place / f"{file_name(key)}.off" for key in sorted(reached(bench, names)))


def set_latch(
    bench: HasInstruments, reason: str = "", *, place: Path | None = None, utc: Callable[[], float] = time.time
) -> Latch:
    """Set the latch of every instrument of `bench`; it is on the disk when this returns. An earlier one is replaced.

    Raises:
        BenchError: it could not be written for these instruments; it is set for the others.
    """
    place, latch, failed = place or locks_folder(), Latch.mine(reason, utc()), []
    make_shared(place)
    text = (json.dumps(asdict(latch)) + "\n").encode()
    for path in latch_files(bench, place):
        try:
            _write(path, text)
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
    try:
        sync_folder(place)
    except OSError as error:
        failed.append(f"{place}: {error.strerror or error}")
    if failed:
        raise BenchError(f"the latch of bench '{bench.name}' cannot be written: {'; '.join(failed)}")
    return latch


def release_latch(bench: HasInstruments, *, place: Path | None = None) -> list[Latch]:
    """Release the latch of every instrument of `bench`; return those that were set, each once. Harmless without one.

    Raises:
        BenchError: it is still set for these instruments; it is released for the others.
    """
    released: list[Latch] = []
    failed: list[str] = []
    for path in latch_files(bench, place):
        latch = _latch_of(path)
        if latch is None:
            continue
        try:
            _write(path, b"")
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
            continue
        released.append(latch)
    if failed:
        raise BenchError(f"the latch of bench '{bench.name}' is still set: {'; '.join(failed)}")
    return list(dict.fromkeys(released))


def latch_of(bench: HasInstruments, *, place: Path | None = None) -> Latch | None:
    """Return the newest latch that is set on an instrument of `bench`, None if there is none; costs a stat per file."""
    return newest(latch_files(bench, place))


def newest(files: tuple[Path, ...]) -> Latch | None:
    """Return the newest of the latches that are set in `files`, None if none is."""
    latches = [latch for path in files if (latch := _latch_of(path)) is not None]
    return max(latches, key=lambda latch: latch.utc, default=None)


def permit(bench: HasInstruments, *, place: Path | None = None) -> Callable[[], None]:
    """Return a function that raises SwitchedOff while the latch of `bench` is set; it reads the latch at each call."""
    return partial(_permit, bench.name, latch_files(bench, place))


def _permit(name: str, files: tuple[Path, ...]) -> None:
    latch = newest(files)
    if latch is not None:
        raise SwitchedOff(f"bench '{name}' is {latch}")


def switched_off(bench: HasInstruments, *, place: Path | None = None) -> str | None:
    """Return by whom and why `bench` is switched off, None if it is not."""
    latch = latch_of(bench, place=place)
    return None if latch is None else str(latch)


def refuse_latched(bench: HasInstruments, file: Path | str = "BENCH", *, place: Path | None = None) -> None:
    """Refuse to start on a bench that is switched off.

    Args:
        file: the bench file, for the command that releases it.

    Raises:
        BenchError: the latch is set; by whom, when, why, and how to release it.
    """
    folder = place or locks_folder()
    if folder.exists() and not folder.is_dir():
        raise BenchError(
            f"bench '{bench.name}' is not used: {folder} is no folder, so locks and latch cannot be read; expected the "
            f"folder of the locks, the same for everybody ({default_locks_folder()}, or as LABCTL_LOCKS says)"
        )
    latch = latch_of(bench, place=place)
    if latch is not None:
        raise BenchError(
            f"bench '{bench.name}' is {latch}; nothing on it is energised before: labctl off --release {file}"
        )


@dataclass(frozen=True)
class _Entry:
    resource: str


@dataclass(frozen=True)
class Addresses:
    """A bench known only by the addresses of its instruments, by name."""

    name: str
    resources: Mapping[str, str]

    @property
    def instruments(self) -> Mapping[str, Any]:
        """Its instruments by name."""
        return {name: _Entry(resource) for name, resource in self.resources.items()}


def _latch_of(path: Path) -> Latch | None:
    """Return the latch in one file, None if it is not set; one that cannot be read counts as set."""
    try:
        if not os.stat(path, follow_symlinks=False).st_size:
            return None
        fd = open_plain(path, os.O_RDONLY)
        try:
            line = os.read(fd, _MOST).split(b"\n")[0]
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Latch(reason=f"{path} cannot be read: {error.strerror or error}")
    if not line:  # released since
        return None
    try:
        body = json.loads(line)
        return Latch(str(body["user"]), str(body["host"]), int(body["pid"]), float(body["utc"]), str(body["reason"]))
    except (ValueError, TypeError, KeyError):
        return Latch()


def _write(path: Path, text: bytes) -> None:
    """Write `text` to a file of the latch, and sync it to the disk."""
    fd = open_or_create(path, shared=True)
    try:
        os.write(fd, text)
        os.ftruncate(fd, len(text))  # last, so that no reader meets an empty file where one latch replaces another
        sync(fd)
    finally:
        os.close(fd)
