"""Check whether this installation can be trusted before anything is energised.

The four import names are generic. Another distribution on the public index also installs an `instruments` package and
would overwrite ours without a word, so the owner of the names is checked, here and whenever a bench is opened. Where
the packages are imported from is asked at every start: `labctl.core.own_names`.
"""

import os
import platform
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from labctl.core import plugins
from labctl.core.driver import Driver, declared
from labctl.core.errors import BenchError
from labctl.core.own_names import NAMES, foreign_names, other_owners
from labctl.core.plugins import API_GROUP, DISTRIBUTION, GROUPS, INSTRUMENTS

LIBRARIES = ("numpy", "scipy", "h5py", "PyYAML", "pydantic", "pyvisa", "pyvisa-py")


@dataclass(frozen=True)
class Finding:
    """The result of one check, `ok` or not, and what was measured or is wrong, for the operator."""

    check: str
    ok: bool
    text: str


def conflicts() -> list[str]:
    """Return a sentence for each of our import names that is not ours, or that another distribution also owns."""
    foreign = {problem.name: str(problem) for problem in foreign_names()}
    problems = list(foreign.values())
    for name, others in other_owners(("labctl", *NAMES)).items():
        if others and name not in foreign:
            problems.append(
                f"the distribution {others[0]} also installs a package '{name}' and may have overwritten ours; "
                f"uninstall it and reinstall {DISTRIBUTION}"
            )
    try:
        metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        problems.append(f"{DISTRIBUTION} is not installed; 'pip install -e .' in the checkout installs it")
    return problems


def require_own_names() -> None:
    """Raise BenchError if one of our import names is not ours, or another distribution owns it too."""
    problems = conflicts()
    if problems:
        raise BenchError("; ".join(problems))


def versions() -> dict[str, str]:
    """Return the versions of Python, of this suite and of the libraries that results depend on."""
    installed = {"python": platform.python_version(), "platform": platform.platform()}
    for name in (DISTRIBUTION, *LIBRARIES):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def _commit_time(folder: Path) -> float:
    """Return the time of one durable journal commit in `folder`, in s (median of 20)."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        db = sqlite3.connect(Path(scratch) / "probe.db", isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("CREATE TABLE probe (x)")
            times = []
            for k in range(20):
                start = time.perf_counter()
                db.execute("INSERT INTO probe VALUES (?)", (k,))
                times.append(time.perf_counter() - start)
        finally:
            db.close()
    return sorted(times)[len(times) // 2]


def plugins_of(group: str) -> Finding:
    """Return the plug-ins of an entry point group, by distribution and version, and those that cannot be used."""
    by_origin: dict[str, list[str]] = {}
    faults: list[str] = []
    every = plugins.registered(group)
    for plugin in every:
        by_origin.setdefault(plugin.origin, []).append(plugin.name)
        try:
            plugins.installed(group)
            if isinstance(plugin.load(), Driver) or group == INSTRUMENTS:
                declared(plugin.name, group)
        except BenchError as error:
            faults.append(str(error))
    names = "; ".join(f"{', '.join(names)} ({origin})" for origin, names in by_origin.items())
    return Finding(group, bool(every) and not faults, "; ".join([names or "none registered", *dict.fromkeys(faults)]))


def examine(folder: Path) -> list[Finding]:
    """Check the installation and `folder`, where runs would be written; energises and keeps nothing."""
    findings = [Finding("Python 3.11 or newer", sys.version_info >= (3, 11), platform.python_version())]
    problems = conflicts()
    findings.append(
        Finding("import names are ours", not problems, "; ".join(problems) or ", ".join(("labctl", *NAMES)))
    )
    findings += [plugins_of(group) for group in GROUPS if group != API_GROUP]
    present = versions()
    libraries = ", ".join(f"{k} {v}" for k, v in present.items() if k in LIBRARIES)
    findings.append(Finding("libraries", "numpy" in present, libraries))
    try:
        commit = _commit_time(folder)
        findings.append(Finding(f"durable writes in {folder}", True, f"{commit * 1e3:.2f} ms for one commit"))
    except (OSError, sqlite3.Error) as error:
        findings.append(Finding(f"durable writes in {folder}", False, str(error)))
    from labctl.storage.filesystem import check_place

    try:
        remarks = "; ".join(check_place(folder)) or "a disk of this computer"
        findings.append(Finding("place for runs", True, remarks))
    except BenchError as error:
        findings.append(Finding("place for runs", False, str(error)))
    data = os.environ.get("LABCTL_DATA")
    findings.append(
        Finding(
            "LABCTL_DATA",
            data is None or Path(data).is_dir(),
            data or "not set (only MNIST and published data need it)",
        )
    )
    return findings
