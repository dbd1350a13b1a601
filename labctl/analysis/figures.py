"""The figures of a die, computed once at its end from its tables, and read from then on.

A formula that fails, of whoever's protocol, costs its own figure only: it is NaN, of which every rule of a bad bin is
true, and the failure is told in words.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from labctl.core.declaration import LARGEST
from labctl.core.events import DieEnded
from labctl.core.figure import Array, Better, Columns, Figure, Figures, Shown, Tables, sizes
from labctl.core.plugins import line_of
from labctl.core.procedure import Procedure
from labctl.storage.event_rows import DieRow

CONTACT = Figure(
    "contact", "contact resistance", "median of the contact structures at the last touch", unit="ohm", shown_unit="Ω",
    digits=1, number=500, better=Better.LOW, in_trend=True,
)  # fmt: skip
TOUCHES = Figure(
    "touches", "touches", "touches over the die's life, as far as they are known", digits=0, number=501,
    shown=Shown.DETAIL, better=Better.LOW, on_map=False,
)  # fmt: skip
SECONDS = Figure(
    "seconds", "time", "worked on the die, all tries together, interruptions left out", unit="s", shown_unit="min",
    factor=1 / 60, digits=2, number=600, better=Better.LOW,
)  # fmt: skip


def declared(procedures: Iterable[Procedure | type[Procedure]]) -> Figures:
    """Return the figures by which dies are judged after these stages, those of the approach included.

    Raises:
        ValueError: two stages declare one figure differently.
    """
    return Figures([*(figure for procedure in procedures for figure in procedure.figures), CONTACT, TOUCHES])


def shown(figures: Figures) -> Figures:
    """Return the figures with the time of the die, which nothing is judged by as it is known afterwards."""
    return Figures([*(figures[key] for key in figures), SECONDS])


def stored(rows: Sequence[DieRow]) -> dict[str, float] | None:
    """Return the figures that were stored when the die ended; None if it has not ended, or goes on."""
    last = rows[-1].event if rows else None
    return dict(last.figures) if isinstance(last, DieEnded) and last.figures is not None else None


class _NoTableError(KeyError):
    """The die has no table of this name."""


class DieTables(Mapping[str, Columns]):
    """The tables of a die, each read when a formula asks for it, and once.

    Args:
        source: a journal or a sealed file, with `tables` and `table`.
    """

    def __init__(self, source: Any) -> None:
        self._source, self._names = source, tuple(source.tables)
        self._read: dict[str, Columns] = {}

    def __getitem__(self, name: str) -> Columns:
        if name not in self._names:
            raise _NoTableError(name)
        if name not in self._read:
            self._read[name] = self._source.table(name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _OfKernels(Mapping[str, Columns]):
    """Tables with the rows of some kernels, where a table has a column `kernel`."""

    def __init__(self, tables: Tables, kernels: tuple[int, ...]) -> None:
        self._tables, self._kernels = tables, kernels

    def __getitem__(self, name: str) -> Columns:
        table = self._tables[name]
        if "kernel" not in table or table["kernel"].ndim != 1:
            return table
        chosen: Array = np.isin(table["kernel"], self._kernels)
        return {column: values[chosen] for column, values in table.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def compute(
    figures: Figures,
    tables: Tables,
    approach: Mapping[str, Any],
    meta: Mapping[str, Any],
    failed: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Return the figures of a die by name, in the order declared; those that were not measured are absent.

    Args:
        approach: see `labctl.core.body.ReadyDie`.
        meta: of the die's journal; its description has the nominal diameter of each kernel.
        failed: called with the failure of a formula in words.
    """
    groups = groups_of(meta)
    values: dict[str, float] = {}
    for key in figures:
        figure = figures[key]
        if figure.formula is None:
            values |= _of_approach(key, approach)
        elif figure.by_size and groups:
            for group, kernels in groups.items():
                values |= _value(figure.of_group(group), _OfKernels(tables, kernels), failed)
        else:
            values |= _value(figure, tables, failed)
    return values


def groups_of(meta: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the kernels of each nominal diameter of a die, by its journal's meta; empty if all are alike."""
    junction = (meta.get("description") or {}).get("junction") or {}
    return sizes(junction.get("kernel_diameters") or ())


def _value(figure: Figure, tables: Tables, failed: Callable[[str], None]) -> dict[str, float]:
    assert figure.formula is not None
    try:
        value = figure.formula(tables)
        number = None if value is None else float(value)
        if number is not None and LARGEST < abs(number) < math.inf:
            raise ValueError(f"{number:g}, expected a number up to {LARGEST:g}")
    except _NoTableError:
        return {}
    except (Exception, SystemExit) as error:  # somebody else's code
        line = line_of(error, getattr(figure.formula, "__module__", None) or "")
        failed(f"the figure '{figure.key}' cannot be computed and is NaN: {type(error).__name__}: {error}{line}")
        number = math.nan
    return {} if number is None else {figure.key: number if math.isfinite(number) else math.nan}


def _of_approach(key: str, approach: Mapping[str, Any]) -> dict[str, float]:
    resistance = approach.get("contact_resistance")
    if key == CONTACT.key and resistance:
        return {key: float(np.median(list(resistance.values())))}
    return {key: float(approach["touches"])} if key == TOUCHES.key and "touches" in approach else {}
