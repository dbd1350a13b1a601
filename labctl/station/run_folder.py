"""Make the folder of a run, with every file that was read and the code and machine that made the run."""

import getpass
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labctl import files
from labctl.core.errors import BenchError
from labctl.core.names import new_path
from labctl.station.doctor import versions
from labctl.station.run_spec import RunSpec
from labctl.storage.manifest import FORMAT, run_meta, text_of
from labctl.storage.private import make_private, rights_of
from labctl.storage.run_log import folder_of

LONGEST = 512 - len("-journal") - 1
"""Longest path of a database that SQLite opens, with the files that it keeps beside it, bytes."""
_OTHER = "name another folder with --out"


def default_folder(spec: RunSpec) -> Path:
    """Return a new folder name under runs/."""
    return Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{spec.name}"


def refuse_existing(folder: Path, dies: Iterable[str] = ()) -> None:
    """Raise BenchError if `folder` holds anything, its parent cannot be written to, or its path is too long.

    Args:
        dies: names of the dies that get a folder in it.
    """
    try:
        _refuse(folder)
    except OSError as error:  # a name in the path is too long, or an upper folder lets nobody in
        raise BenchError(f"{folder} cannot be made: {error.strerror or error}; {_OTHER}") from error
    deepest = Path(os.path.realpath(folder), "dies", folder_of(max(dies, key=len, default="die"), 99), "journal.db")
    if (length := len(os.fsencode(deepest))) > LONGEST:
        raise BenchError(
            f"{folder} is too long a path: the journals in it would have {length} bytes, and SQLite opens {LONGEST} "
            f"at most; {_OTHER}"
        )


def _refuse(folder: Path) -> None:
    """Raise BenchError if `folder` holds anything or cannot be written to, OSError if that cannot be told."""
    new_path(folder)
    if folder.is_dir():
        if any(folder.iterdir()):
            raise BenchError(f"{folder} exists and is not empty; a run never writes over another: name a new folder")
    elif folder.exists():
        raise BenchError(f"{folder} exists and is not a folder")
    anchor = folder
    while not anchor.exists():
        anchor = anchor.parent
    if not (anchor.is_dir() and os.access(anchor, os.W_OK)):
        raise BenchError(f"{anchor} cannot be written to; {_OTHER}")


def git_commit() -> str:
    """Return the commit of this source tree, with "-dirty" if files differ from it; "" if it is not a checkout."""
    here = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 and (here / ".git").exists() else ""


def _operator() -> str:
    """Return the name of the account that started the run, "" if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _processor() -> str:
    """Return the model of the processor, "" if the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def bench_copy(folder: Path) -> Path:
    """Return the copy of the bench file in the folder of a run on a bench."""
    return folder / "files" / str(run_meta(folder)["roles"]["bench"])


def make_folder(folder: Path, spec: RunSpec, argv: Sequence[str]) -> dict[str, Any]:
    """Make the folder of a run, its owner's alone, with verbatim inputs and ``run.json``; return what that holds.

    Raises:
        BenchError: the folder cannot be made or written.
    """
    refuse_existing(folder, [site.name for site in spec.subjects])
    meta: dict[str, Any] = {
        "format": FORMAT,
        **spec.to_json(),
        **spec.provenance(),
        "argv": list(argv),
        "cwd": str(Path.cwd()),
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "processor": _processor(),
        "operator": spec.operator or _operator(),
        "time_zone": time.strftime("%Z"),
        "utc_offset": time.localtime().tm_gmtoff,
        "versions": versions(),
        "git_commit": git_commit(),
        "utc": datetime.now(UTC).isoformat(),
        "monotonic": time.monotonic(),
        "executable": sys.executable,
    }
    try:
        make_private(folder)
        with rights_of(folder):
            (folder / "dies").mkdir()
            (folder / "files").mkdir()
            files.keep(folder / "files", spec.files)
            part = folder / "run.json.part"
            with part.open("w", encoding="utf-8") as f:
                f.write(text_of(meta))
                f.flush()
                os.fsync(f.fileno())
            part.replace(folder / "run.json")
    except OSError as error:
        raise BenchError(f"{folder} cannot be made: {error.strerror or error}; {_OTHER}") from error
    return meta
