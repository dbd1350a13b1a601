"""The one door through which the files of a run are read: it keeps their bytes, and reads each of them once.

A run that goes on reads through a door to the copies in its folder, and to nothing else.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from labctl.core.errors import BenchError
from labctl.core.secrets import secret_in
from labctl.files.provenance import digest

MAX_BYTES = 2 << 30
"""A larger file is no input of a run."""


class Door:
    """Files as they are on the disk, or the copies of an earlier run.

    Args:
        folder: start of relative paths of the command line; the current folder if left out.
        copies: path of a file that an earlier run read -> its copy. Other files are then not there.

    Attributes:
        kept: bytes of every file that was read, by its path, in the order of reading.
        shipped: digest of every content that comes with a distribution, by its name.
    """

    def __init__(self, folder: Path | None = None, copies: Mapping[Path, Path] | None = None) -> None:
        self.folder, self._copies = folder, copies
        self._kept: dict[Path, bytes] = {}
        self._shipped: dict[str, str] = {}

    @property
    def kept(self) -> Mapping[Path, bytes]:
        """Bytes of every file that was read, by its path, in the order of reading."""
        return MappingProxyType(self._kept)

    @property
    def from_copies(self) -> bool:
        """Whether files are those of an earlier run."""
        return self._copies is not None

    @property
    def digests(self) -> Mapping[str, str]:
        """Digest of every content that comes with a distribution, by its name."""
        return MappingProxyType(self._shipped)

    def read(self, path: str | Path, limit: int = MAX_BYTES) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: it cannot be read, is no regular file or exceeds `limit` bytes.
            BenchError: it is kept with the run, and has a secret in it.
        """
        full = absolute(path, self.folder or Path.cwd())
        if full not in self._kept:
            content = _content(self._actual(full), limit)
            self._keep(full, content)
            return content
        return self._kept[full]

    def exists(self, path: str | Path) -> bool:
        """Return whether there is a file or folder at `path`."""
        full = absolute(path, self.folder or Path.cwd())
        if self._copies is None:
            return full.exists()
        return full in self._copies or self.is_folder(full)

    def is_folder(self, path: str | Path) -> bool:
        """Return whether `path` is a folder."""
        full = absolute(path, self.folder or Path.cwd())
        return full.is_dir() if self._copies is None else any(full in copied.parents for copied in self._copies)

    def shipped(self, name: str, content: bytes) -> bytes:
        """Return `content`, which comes with a distribution: it is recorded by `name` and digest, with no copy."""
        self._shipped[name] = digest(content)
        return content

    def view(self) -> "View":
        """Return the files for one reader, which notes what that reader reads."""
        return View(self)

    def _keep(self, path: Path, content: bytes) -> None:
        if self._copies is None:
            _require_no_secret(path, content)
        self._kept[path] = content

    def _actual(self, path: Path) -> Path:
        if self._copies is None:
            return path
        if path not in self._copies:
            raise FileNotFoundError(errno.ENOENT, "it was not read when the run was started", str(path))
        return self._copies[path]


class View:
    """The files of a door as one reader of an input sees them.

    Attributes:
        files: digest of every file that this reader read, by path.
        contents: digest of every content of a distribution that it took, by name.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self.files: dict[str, str] = {}
        self.contents: dict[str, str] = {}

    def read(self, path: str) -> bytes:
        """Return the content of a file; OSError if it cannot be read."""
        content = self._door.read(path)
        self.files[str(path)] = digest(content)
        return content

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder at `path`."""
        return self._door.exists(path)

    def is_folder(self, path: str) -> bool:
        """Return whether `path` is a folder."""
        return self._door.is_folder(path)

    def shipped(self, name: str, content: bytes) -> bytes:
        """Return `content`, which comes with a distribution: it is recorded by `name` and digest, with no copy."""
        self.contents[name] = digest(content)
        return self._door.shipped(name, content)


class _Disk(Door):
    """Files as they are on the disk; nothing is kept."""

    def _keep(self, path: Path, content: bytes) -> None:
        """Keep nothing."""

    def shipped(self, name: str, content: bytes) -> bytes:
        """Return `content`."""
        return content


DISK = _Disk()
_door: ContextVar[Door] = ContextVar("door", default=DISK)


@contextmanager
def through(door: Door) -> Iterator[Door]:
    """Read all files through `door` while the block lasts."""
    token = _door.set(door)
    try:
        yield door
    finally:
        _door.reset(token)


def current() -> Door:
    """Return the door through which files are read now."""
    return _door.get()


def here() -> Path:
    """Return the folder at which relative paths of the command line start."""
    return current().folder or Path.cwd()


def absolute(path: str | Path, folder: Path) -> Path:
    """Return `path` as an absolute one; a relative one starts at `folder`, `~` is the home folder."""
    given = Path(path)
    with suppress(RuntimeError):  # no such user: the text is then a name like any other
        given = given.expanduser()
    return Path(os.path.abspath(folder / given))


def neighbour(path: Path) -> str:
    """Return a hint at the file that was meant by a path at which there is none, "" if none has a name like it."""
    if os.path.islink(path):
        return f": it is a link to {os.readlink(path)}, which is not there"
    try:
        names = [one.name for one in path.parent.iterdir()] if path.name else []
    except OSError:
        return f"; the folder {path.parent} does not exist either"
    stems: dict[str, str] = {}
    for name in names:
        stems.setdefault(Path(name).stem.lower(), name)
    near = get_close_matches(path.stem.lower(), stems, 1, 0.7)  # a suffix that they share makes no two names alike
    return f"; did you mean {path.with_name(stems[near[0]])}?" if near else ""


_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEVER_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_CHUNK = 1 << 20
_HEAD = 1024
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
"""How a text in UTF-16 begins that is XML or has a byte order mark."""
_LONGEST_TEXT = 16 << 20


def _content(path: Path, limit: int) -> bytes:
    """Return the content of a file; OSError if it is none, such as a pipe or a device, or has more than `limit` bytes.

    What is no file is not opened, and nothing is waited for. A file without an end, as there are in /proc, ends at the
    limit.
    """
    _require_file(path, os.stat(path), limit)
    with open(os.open(path, _READ_ONLY | _NEVER_WAIT), "rb") as file:
        state = os.fstat(file.fileno())
        _require_file(path, state, limit)
        content = file.read(state.st_size)
        while more := file.read(_CHUNK):
            content += more
            if len(content) > limit:
                raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return content


def _require_no_secret(path: Path, content: bytes) -> None:
    """Refuse a text with a secret, comments included: its bytes go into the run folder and every sealed file."""
    if content.startswith(_UTF_16):  # only maps are read in it, and their secrets are ASCII
        content = content.replace(b"\0", b"")
    if b"\0" in content[:_HEAD] or len(content) > _LONGEST_TEXT:  # no text, or none that people write
        return
    text = content.decode("utf-8", "replace")
    place, kind = secret_in(text)
    if kind:
        line = text[:place].count("\n") + 1
        raise BenchError(
            f"{path}:{line}: found {kind}, expected none: this file is copied into every run and its sealed files. "
            "Secrets stand in the configuration of Apprise (notify.tag), in a file that a command of the operator "
            "reads, or in an environment variable"
        )


def _require_file(path: Path, state: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if state.st_size > limit:
        raise OSError(errno.EFBIG, f"it has {state.st_size:,} bytes, more than {limit:,}", str(path))
