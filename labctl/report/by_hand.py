"""What was found by hand, in operator words and as plain data."""

from pathlib import Path
from typing import Any

from rich.console import Console

from labctl.core.cell_state import CellState
from labctl.core.operations import Flag
from labctl.station.hand_session import DIE
from labctl.storage.results import open_run

_OPEN = CellState.OPEN.key
_READS = {
    CellState.P.key: "P",
    CellState.AP.key: "AP",
    CellState.OPEN.key: "OPEN, and not AP",
    CellState.UNREADABLE.key: "neither P nor AP",
}


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return what was recorded, one plain dict per record; NaN as None, a `CellState` by its name."""
    records = []
    die = open_run(folder).die(DIE)
    for name in die.tables:
        table = die.table(name)
        fields = [column for column in table if column not in ("seq", "stage", "utc")]
        records += [{c: _plain(table[c][k]) for c in fields} for k in range(table.rows)]
    for record in records:
        record["state"] = _named(record["state"])
    return records


def _named(state: Any) -> Any:
    """Return codes of `CellState`, in lists or one, as names.

    >>> _named([[1, 0], [2, 3]])
    [['p', 'ap'], ['open', 'unreadable']]
    """
    return [_named(item) for item in state] if isinstance(state, list) else CellState(state).key


def _plain(value: Any) -> Any:
    """Return an array or number as JSON has it."""
    data = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(data, list):
        return [_plain(item) for item in data]
    return None if isinstance(data, float) and data != data else data


def show(row: dict[str, Any], screen: Console) -> None:
    """Print one record in operator words."""
    if isinstance(row["conductance"], list):
        screen.print(f"kernel {row['kernel']}, uS at {row['v_read'] * 1e3:g} mV; ! is flagged", markup=False)
        for r, (values, flags) in enumerate(zip(row["conductance"], row["flag"], strict=True)):
            cells = (
                f"{'?' if g is None else 'open' if state == _OPEN else f'{g * 1e6:.0f}':>5}{'!' if f else ' '}"
                for g, f, state in zip(values, flags, row["state"][r], strict=True)
            )
            screen.print(f"{r:3} " + "".join(cells), markup=False)
        return
    g = row["conductance"]
    where = f"kernel {row['kernel']}, row {row['row']}, column {row['col']}"
    value = "nothing known" if g is None else f"{g * 1e6:.4g} uS" + (f" ({1e-3 / g:.4g} kohm)" if g > 0 else "")
    reads = _READS[row["state"]]
    message = f"{where}: {value} at {row['v_read'] * 1e3:g} mV, reads {reads}{_flags(row['flag'])}"
    if "target" in row:
        done = "verified" if row["verified"] else "NOT verified"
        message += (
            f"; after {row['voltage'] * 1e3:g} mV, {_time(row['width'])} towards {'P' if row['target'] else 'AP'}: "
            f"{done}{_flags(row['pulse_flag'], ' during the pulse')}"
        )
    screen.print(message, markup=False)


def _time(seconds: float) -> str:
    """Return a time in ms, or in ns where it is shorter than a microsecond.

    >>> _time(0.01), _time(5e-8)
    ('10 ms', '50 ns')
    """
    return f"{seconds * 1e9:g} ns" if seconds < 1e-6 else f"{seconds * 1e3:g} ms"


def _flags(value: int, when: str = "") -> str:
    """Return what a flag says.

    >>> _flags(3)
    ', compliance and overrange'
    """
    names = [str(flag.name).lower() for flag in Flag if value & flag]
    return f", {' and '.join(names)}{when}" if names else ""
