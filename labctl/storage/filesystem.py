"""Check the folder of a run: on a disk of this computer, and not in a folder that another program synchronises.

On a network file system one lost second of network ends a night, and locks, fsync and the shared memory of a
write-ahead log do not mean what they mean on a disk. A program that synchronises a folder opens, replaces and renames
files while they are being written. Psutil lists what is mounted; which of it is on another computer, and who
synchronises, it does not judge.
"""

import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.core.errors import BenchError

_REMOTE = re.compile(
    r"(fuse\.)?(9p|acfs|afpfs|afs|beegfs|ceph|cifs|coda|cvfs|davfs|fhgfs|ftpfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs[34]?|"
    r"ocfs2|orangefs|panfs|prl_fs|pvfs2|rclone|s3fs|smb[23]|smbfs|sshfs|vboxsf|virtiofs|vmhgfs|vmhgfs-fuse|webdav)"
)
"""Names of file systems on another computer, or shared between several (a virtual machine and its host included)."""
_FUSE = re.compile(r"fuse(\..*)?|macfuse|osxfuse|fusefs")
_LOCAL_FUSE = re.compile(r"fuse\.(bindfs|encfs|exfat|fuse-overlayfs|gocryptfs|lxcfs|ntfs|ntfs-3g)")
NETWORK_DRIVE = "network drive"
"""Kind of a drive of Windows that is on another computer; such a drive need not tell its file system."""
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of a file system on which no file can be locked."""
_MEMORY = frozenset({"tmpfs", "ramfs"})

_SYNCED = re.compile(
    r"(dropbox|onedrive|google ?drive|my drive|icloud ?drive|nextcloud|owncloud|seafile|syncthing|megasync|pclouddrive)"
    r"( ?\(.+\)| - .+)?",
    re.IGNORECASE,
)
"""Names that synchronising programs give to their folders: "Dropbox (Personal)", "OneDrive - University"."""
_INSIDE = {"library/mobile documents": "iCloud Drive", "library/cloudstorage": "a cloud storage"}
_MARKS = {
    ".dropbox.cache": "Dropbox",
    ".stfolder": "Syncthing",
    ".nextcloudsync.log": "Nextcloud",
    ".owncloudsync.log": "ownCloud",
    ".tmp.driveupload": "Google Drive",
    ".849C9593-D756-4E56-8D6E-42412F2A707B": "OneDrive",
}
"""Files and folders that synchronising programs keep at the top of a synchronised folder."""
_MARK_PATTERNS = {".sync_*.db": "Nextcloud", "._sync_*.db": "Nextcloud"}


@dataclass(frozen=True)
class Mount:
    """One mounted file system: mount point, kind and source."""

    point: str
    kind: str
    source: str


def check_place(folder: Path, *, accept: bool = False, among: Sequence[Mount] | None = None) -> tuple[str, ...]:
    """Return remarks on the place of `folder`, which need not exist yet, in operator words.

    Args:
        accept: return as a remark what would be refused.
        among: the mounted file systems, by default those of this computer.

    Raises:
        BenchError: it is on a network file system or in a folder that another program synchronises.
    """
    folder = Path(os.path.realpath(folder))
    refused = [text for text in (_remote(folder, among), _synchronised(folder)) if text]
    if refused and not accept:
        raise BenchError(
            f"{folder} {'; and it '.join(refused)}. Keep the run on a disk of this computer and copy it afterwards, "
            "or accept the place with --accept-place"
        )
    remarks = [f"{folder} {text}; this was accepted" for text in refused]
    mount = mount_of(folder, among)
    if mount is not None and mount.kind in _MEMORY:
        remarks.append(f"{folder} is in memory ({mount.kind} on {mount.point}): a power cut loses it")
    return tuple(remarks)


def mount_of(folder: Path, among: Sequence[Mount] | None = None) -> Mount | None:
    """Return the file system that holds `folder`, an absolute path without links; None if the mounts are unknown."""
    inside = [m for m in (mounts() if among is None else among) if Path(m.point) in (folder, *folder.parents)]
    # of two at one point, the later one covers the earlier
    return max(reversed(inside), key=lambda m: len(Path(m.point).parts), default=None)


def no_locks(folder: Path, among: Sequence[Mount] | None = None) -> str:
    """Return that files in `folder` cannot be locked, with its file system; "" if they can, or if it cannot be tried.

    SQLite takes a failure to lock for a lock that somebody else has, so a file of its own is locked as SQLite does.
    """
    if sys.platform == "win32":
        return ""
    import fcntl

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return without_locks(folder, error, among) if error.errno in NO_LOCKS else ""
    return ""


def without_locks(folder: Path, error: OSError, among: Sequence[Mount] | None = None) -> str:
    """Return in operator words that files in `folder` cannot be locked, because of `error`."""
    mount = mount_of(Path(os.path.realpath(folder)), among)
    system = "" if mount is None else f" of {mount.kind}, {mount.source} on {mount.point}"
    return f"files cannot be locked in this folder{system} ({error.strerror}); keep runs on a local disk"


def mounts() -> list[Mount]:
    """Return what is mounted on this computer, in that order; nothing if the system does not tell."""
    import psutil

    try:
        return [_mount(part) for part in psutil.disk_partitions(all=True)]
    except (OSError, psutil.Error, NotImplementedError):
        return []


def _mount(part: Any) -> Mount:
    remote = sys.platform == "win32" and "remote" in part.opts.split(",")
    return Mount(part.mountpoint, NETWORK_DRIVE if remote else part.fstype, part.device)


def _remote(folder: Path, among: Sequence[Mount] | None) -> str:
    """Return why `folder` is not on a disk of this computer, "" if it is."""
    if str(folder).startswith("\\\\"):  # of Windows, \\server\share; a drive with a letter is in the list
        return f"is on a network drive ({folder.drive})"
    mount = mount_of(folder, among)
    if mount is None:
        return ""
    kind = mount.kind.lower()
    if _REMOTE.fullmatch(kind) or kind == NETWORK_DRIVE:
        what = "a network file system"
    elif _FUSE.fullmatch(kind) and not _LOCAL_FUSE.fullmatch(kind):
        what = "a file system that a program provides, perhaps over the network"
    else:
        return ""
    return f"is on {what} ({mount.kind}, {mount.source} on {mount.point})"


def _synchronised(folder: Path) -> str:
    """Return the program that synchronises `folder`, in operator words, "" if none is known."""
    declared = dict(_declared_by_programs(os.environ, Path.home()))
    for above in (folder, *folder.parents):
        within = "/".join(above.parts[-2:]).lower()
        name = (
            declared.get(above)
            or _INSIDE.get(within)
            or next((w for m, w in _MARKS.items() if (above / m).exists()), "")
        )
        if not name and _SYNCED.fullmatch(above.name):
            name = above.name
        if not name:
            with suppress(OSError):
                name = next((w for m, w in _MARK_PATTERNS.items() if next(above.glob(m), None)), "")
        if name:
            return f"is synchronised by a program ({name}: {above})"
    return ""


def _declared_by_programs(environ: Mapping[str, str], home: Path) -> list[tuple[Path, str]]:
    """Return the folders that programs declare as synchronised, each with its program."""
    folders = [
        (Path(os.path.realpath(environ[key])), "OneDrive")
        for key in ("OneDrive", "OneDriveCommercial", "OneDriveConsumer")
        if environ.get(key)
    ]
    for info in (home / ".dropbox" / "info.json", Path(environ.get("LOCALAPPDATA", home), "Dropbox", "info.json")):
        with suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
            accounts = json.loads(info.read_text(encoding="utf-8"))
            folders += [(Path(os.path.realpath(account["path"])), "Dropbox") for account in accounts.values()]
    return folders
