"""What a run on a bench needs before its journals go: outputs that were verified off, and its pulses in the ledger."""

import os
from pathlib import Path

from instruments.bench_file import read_bench
from labctl.core.errors import BenchError
from labctl.core.exit_codes import ExitCode
from labctl.files import absolute
from labctl.storage.manifest import run_meta
from labctl.storage.run_log import read_state
from labctl.storage.stress_ledger import VARIABLE, StressLedger, ledger_path


def refuse_unverified(run: Path) -> None:
    """Raise BenchError if a run ended without its bench verified off: its journals are the record of what happened."""
    if read_state(run).exit_code == ExitCode.NOT_OFF:
        raise BenchError(
            f"{run} ended without its outputs verified off (exit code {ExitCode.NOT_OFF:d}), and its journals are the "
            "record of what was done until then; nothing is dropped. Expected a run whose bench was verified off at "
            "its end"
        )


def ledger_of(run: Path, named: Path | None) -> Path | None:
    """Return the stress ledger that has to have the pulses of a run; None for simulated dies.

    Args:
        named: by the operator, "--ledger"; else it is the one that the bench file names or that lies beside it.

    Raises:
        BenchError: there is none; the pulses of a die are counted from journals.
        StorageError: the run is damaged.
    """
    meta = run_meta(run)
    if not meta.get("real"):
        return None
    path = named
    if path is None:
        copy = str(meta["roles"]["bench"])
        original = absolute(meta["files"][copy]["path"], Path(meta["cwd"]))
        configured = read_bench(run / "files" / copy, to_make_safe=True).value.ledger
        path = ledger_path(original, configured, os.environ)
    if not path.is_file():
        raise BenchError(
            f"{run} was made on a bench, and the stress of its dies is counted from the journals: found no ledger at "
            f"{path}; expected the ledger of the lab: --ledger FILE, or {VARIABLE}"
        )
    return path


def account(run: Path, ledger: Path | None) -> None:
    """Enter what the journals of a run hold in the ledger, unless it has it; nothing for simulated dies.

    Raises:
        BenchError, StorageError: as `StressLedger.account_run`.
    """
    if ledger is not None:
        with StressLedger.open(ledger) as opened:
            opened.account_run(run)
