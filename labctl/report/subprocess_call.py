"""Write the report of a run in a process of its own: whatever goes wrong there, the run has ended as it ended."""

import subprocess
import sys
from pathlib import Path

from labctl.core.units import Second

PATIENCE: Second = 600.0
"""How long the report of a run may take; one of 36 dies of 20,000 cells takes some seconds."""


def report_apart(folder: Path, patience: Second = PATIENCE) -> str:
    """Write ``report.html`` and ``report.json`` into a run folder; return why they are missing, "" if they are not."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "labctl.report", str(folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=patience,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else lines[-1] if lines else f"exit code {done.returncode}"
