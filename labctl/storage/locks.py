"""Locks: one run at a time in a folder; a refusal names the holder.

The lock is the operating system's, on an open file: it ends with the process that holds it, however that process ends,
so there is never a stale one to be deleted by hand. The file's text names the holder and decides nothing. The file
stays when the lock is released: a lock file that is deleted can be locked twice. The locks of instruments
(`labctl.storage.bench_locks`) are the same.

Filelock makes the system call. The file around it is ours, because filelock neither names a holder nor lets a user lock
a file of another one in a shared folder; and so is asking for the holder without taking the lock.

A lock belongs to one process and never to those it starts. A worker that outlives its parent by a moment, to make the
bench safe, holds a lock of its own: it `hold`s the folder of its die, and takes `bench_lock` with `part="worker"`.
"""

import contextlib
import errno
import getpass
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from labctl.core.errors import BenchError
from labctl.core.units import Second
from labctl.storage.filesystem import NO_LOCKS, without_locks

NAME = "lock"
"""The lock file in a folder that is held."""
_TEXT = 1
"""The text begins behind the first byte: Windows locks that one, and lets nobody read it meanwhile."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lock: user, host, process, command, and since when, in s UTC since 1970."""

    user: str = ""
    host: str = ""
    pid: int = 0
    what: str = ""
    since: float = 0.0

    @classmethod
    def me(cls, what: str) -> Self:
        """Return this process as the holder of a lock that it takes now, to run `what`."""
        try:
            user = getpass.getuser()
        except (ImportError, KeyError, OSError):  # a user without a name, as in a container
            user = f"user {os.getuid()}" if hasattr(os, "getuid") else "somebody"
        return cls(user, socket.gethostname(), os.getpid(), what, time.time())

    def __str__(self) -> str:
        if not self.pid:
            return "somebody who could not leave a name"
        since, now = time.localtime(self.since), time.localtime()
        form = "%H:%M" if since[:3] == now[:3] else "%Y-%m-%d %H:%M"
        return f"{self.user} on {self.host} (pid {self.pid}) since {time.strftime(form, since)}: {self.what}"


@contextmanager
def hold(folder: Path, what: str, *, part: str = "", patience: Second = 0.5) -> Iterator[Holder]:
    """Hold `folder` while the block lasts, against other processes and other holders in this one.

    Args:
        what: the command, named to those who are refused: "labctl run overnight.yaml".
        part: "sealing" for the process that seals; it excludes others that seal, not the owner of the folder.
        patience: how long to wait for a holder to let go, s. Readers of the holder take milliseconds.

    Raises:
        BenchError: it is held, naming the holder; or it cannot be locked.
    """
    lock = Lock(folder / (f"{part}-{NAME}" if part else NAME), str(folder))
    with lock.held(what, patience) as me:
        yield me


def holder(folder: Path) -> Holder | None:
    """Return the holder of `folder`, None if it is free; changes nothing, and works in a read-only folder.

    A lock that a computer holds on its own disk may not be seen from another one over a file share.

    Raises:
        BenchError: the lock file cannot be read.
    """
    return Lock(folder / NAME, str(folder)).holder()


class Lock:
    """One lock file, and the lock on it while `fd` is not None.

    Args:
        named: folder or instrument that it locks, for the message of a refusal.
        shared: other users have to be able to lock it too.
    """

    def __init__(self, path: Path, named: str, *, shared: bool = False) -> None:
        self.path, self.named, self.shared = path, named, shared
        self.fd: int | None = None

    @contextmanager
    def held(self, what: str, patience: Second) -> Iterator[Holder]:
        """Hold it while the block lasts; BenchError naming the holder if it is held for longer than `patience` s."""
        end = time.monotonic() + patience
        while not self._take():
            if time.monotonic() >= end:
                other = self.holder()
                if other is not None:
                    raise BenchError(f"{self.named} is in use by {other}")
            time.sleep(0.02)
        try:
            me = Holder.me(what)
            self._sign(" " * _TEXT + json.dumps(asdict(me)) + "\n")
            yield me
        finally:
            self._release()

    def holder(self) -> Holder | None:
        """Return the holder, None if it is free."""
        try:
            fd = open_plain(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(error) from error
        try:
            if _lock(fd, shared=True):
                return None
            return _read(fd)
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(fd)

    def _take(self) -> bool:
        """Take the lock and return True, or return False because another holder has it."""
        try:
            fd = self._open_or_create()
        except OSError as error:
            raise self._refused(error) from error
        try:
            taken = _lock(fd) and _is_there(fd, self.path)
        except OSError as error:
            os.close(fd)
            raise self._refused(error) from error
        if not taken:
            os.close(fd)
            return False
        self.fd = fd
        _held.add(self)
        return True

    def _open_or_create(self) -> int:
        try:
            return open_or_create(self.path, shared=self.shared)
        except PermissionError:  # another user's, readable only: it can be locked, but not signed
            return open_plain(self.path, os.O_RDONLY)

    def _sign(self, text: str) -> None:
        """Write the holder; a full disk or another user's file is no reason to refuse."""
        if self.fd is None:
            return
        with contextlib.suppress(OSError):
            os.lseek(self.fd, 0, os.SEEK_SET)
            os.write(self.fd, text.encode())
            os.ftruncate(self.fd, len(text.encode()))

    def _release(self) -> None:
        if self.fd is None:
            return
        self._sign("")
        _held.discard(self)
        fd, self.fd = self.fd, None
        os.close(fd)

    def _refused(self, error: OSError) -> BenchError:
        if error.errno in NO_LOCKS:
            return BenchError(f"{self.path}: {without_locks(self.path.parent, error)}")
        return BenchError(f"{self.named} cannot be locked: {self.path}: {error.strerror or error}")


_held: set[Lock] = set()


def _forget() -> None:
    """Close the files that a forked child inherits, without unlocking: the lock ends with the process that took it."""
    for lock in _held:
        if lock.fd is not None:
            os.close(lock.fd)
            lock.fd = None
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def open_or_create(path: Path, *, shared: bool) -> int:
    """Return `path` open for reading and writing, created if it is missing. Raises OSError.

    Args:
        shared: other users may write a file that is created.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            return open_plain(path, os.O_RDWR)
        try:
            # only now O_CREAT: in a folder like /tmp, Linux refuses it for a file of another user
            fd = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            continue
        if shared and hasattr(os, "fchmod"):
            os.fchmod(fd, 0o666)
        return fd


def open_plain(path: Path, flags: int) -> int:
    """Open a file, which programs started from here do not inherit; refuse a link or a pipe put in its place."""
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    fd = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is not a plain file")
    return fd


def _lock(fd: int, *, shared: bool = False) -> bool:
    """Lock `fd` and return True, or return False because it is locked; the lock ends when `fd` is closed.

    Args:
        shared: beside others that are shared, where the system has that; filelock has it nowhere.
    """
    if shared and sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    from filelock import lock_descriptor

    return lock_descriptor(fd, blocking=False)


def _is_there(fd: int, path: Path) -> bool:
    """Return whether `fd` is still the file at `path`; one that was deleted locks nothing any more."""
    if sys.platform == "win32":  # nobody deletes an open file there
        return True
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _read(fd: int) -> Holder:
    """Return the holder in a lock file, a `Holder` without a name if its text is missing or cut off."""
    os.lseek(fd, _TEXT, os.SEEK_SET)
    line = os.read(fd, 1 << 16).split(b"\n")[0]
    try:
        body = json.loads(line)
        return Holder(str(body["user"]), str(body["host"]), int(body["pid"]), str(body["what"]), float(body["since"]))
    except (ValueError, TypeError, KeyError):
        return Holder()
