"""Make the folder of a run, with every file that was read and the code and machine that made the run."""

import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labctl import files
from labctl.config.campaign import Campaign
from labctl.core.errors import BenchError
from labctl.station.composition import Prepared
from labctl.station.declared_figures import described
from labctl.station.doctor import versions


def default_folder(campaign: Campaign) -> Path:
    """Return a new folder name under runs/."""
    return Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{campaign.name}"


def refuse_existing(folder: Path) -> None:
    """Raise BenchError if `folder` holds anything, or if its parent cannot be written to."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise BenchError(f"{folder} exists and is not empty; a run never writes over another: name a new folder")
    elif folder.exists():
        raise BenchError(f"{folder} exists and is not a folder")
    anchor = folder
    while not anchor.exists():
        anchor = anchor.parent
    if not (anchor.is_dir() and os.access(anchor, os.W_OK)):
        raise BenchError(f"{anchor} cannot be written to; name another folder with --out")


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


def _name_of(kept: Mapping[str, Mapping[str, str]], path: Path | None) -> str | None:
    """Return the name in the run folder of the copy of a file, None if there is none."""
    return next((name for name, file in kept.items() if file["path"] == str(path)), None)


def make_folder(folder: Path, prepared: Prepared, argv: Sequence[str]) -> dict[str, Any]:
    """Make the run folder with verbatim inputs and `run.json`; return the contents of `run.json`.

    Raises:
        BenchError: the folder cannot be made or written.
    """
    refuse_existing(folder)
    try:
        (folder / "dies").mkdir(parents=True)
        (folder / "files").mkdir()
        kept = files.keep(folder / "files", prepared.files)
        meta: dict[str, Any] = {
            "format": 1,
            "name": prepared.campaign.name,
            "title": prepared.campaign.title,
            "seed": prepared.campaign.seed,
            "dies": [s.name for s in prepared.subjects],
            "body": prepared.body,
            "real": prepared.bench is not None and prepared.sim is None,
            "set": dict(prepared.overrides),
            "sim": prepared.sim,
            "roles": {
                "campaign": _name_of(kept, prepared.campaign_file),
                "bench": _name_of(kept, prepared.bench_file),
            },
            "files": kept,
            "shipped": dict(prepared.shipped),
            "argv": list(argv),
            "cwd": str(Path.cwd()),
            "host": socket.gethostname(),
            "machine": platform.machine(),
            "versions": versions(),
            "git_commit": git_commit(),
            "utc": datetime.now(UTC).isoformat(),
            "monotonic": time.monotonic(),
            "executable": sys.executable,
            **described(prepared.procedures, prepared.visit),
        }
        part = folder / "run.json.part"
        with part.open("w", encoding="utf-8") as f:
            json.dump(meta, f, indent=1)
            f.flush()
            os.fsync(f.fileno())
        part.replace(folder / "run.json")
    except OSError as error:
        raise BenchError(
            f"{folder} cannot be made: {error.strerror or error}; name another folder with --out"
        ) from error
    return meta
