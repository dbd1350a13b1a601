"""Figures of merit: what a die is judged by and shown with, each declared once.

A procedure declares the figures that its tables give (`labctl.core.procedure.Procedure.figures`). They are computed
once, at the end of a die, and stored with it; the declarations, without their formulas, are stored with the run. Rules,
screens, reports and exports read these two, so none of them needs the procedure, or knows a figure by its name.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core import declaration
from labctl.core.errors import StorageError

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
"""A table: each column is an array whose first axis are the rows."""
Tables = Mapping[str, Columns]
"""The tables of a die by name. A table that the die does not have is a KeyError, and the figure is then absent."""
Formula = Callable[[Tables], float | None]
_LONGEST_KEY = 64
_NAME = re.compile(r"(?P<key>[a-z][a-z0-9_]*)(?:\[(?P<group>[^\[\]]+)\])?")


class Better(StrEnum):
    """Which values of a figure are good ones."""

    HIGH = "high"
    LOW = "low"
    NEITHER = "neither"


class Shown(StrEnum):
    """Where a figure is shown: beside every die, in tables of dies, or with all that is known of one die."""

    HEADLINE = "headline"
    TABLE = "table"
    DETAIL = "detail"


@dataclass(frozen=True)
class Figure:
    """One figure of merit.

    Args:
        key: its name in rules, in ``report.json`` and in exports, where it is in SI units.
        title: its name for people.
        note: its definition.
        formula: gives its value in SI units from the tables of a die, None if it is absent. There is no formula in a
            declaration that was read from a run, and of a figure that no table gives.
        unit: SI unit, "" for ratios and counts.
        shown_unit: unit in which it is shown; `factor` converts the SI value.
        digits: decimals shown; -1: four digits, wherever the point is.
        number: its test number in STDF, for good; 0: a number is made from its key.
        shown: where it is shown.
        better: which values are good.
        on_map: whether it has a wafer map.
        in_trend: whether it is drawn against time.
        by_size: of junctions: where the kernels of a die differ in nominal diameter it is computed for every diameter,
            as ``r_p[60 nm]``, from the rows of these kernels in tables with a column `kernel`, and not for all.

    Raises:
        ValueError: the key is no name, or a value is not of the type that is declared.
    """

    key: str
    title: str
    note: str
    formula: Formula | None = field(default=None, compare=False, repr=False)
    unit: str = ""
    shown_unit: str = ""
    factor: float = 1.0
    digits: int = -1
    number: int = 0
    shown: Shown = Shown.TABLE
    better: Better = Better.NEITHER
    on_map: bool = True
    in_trend: bool = False
    by_size: bool = False

    def __post_init__(self) -> None:
        key = declaration.text("the key of a figure", self.key)
        match = _NAME.fullmatch(key)
        if match is None or len(match["key"]) > _LONGEST_KEY:
            raise ValueError(
                f"'{key[:80]}' is no key of a figure; expected up to {_LONGEST_KEY} small letters, digits and _, "
                "such as r_p"
            )
        if self.formula is not None and not callable(self.formula):
            raise ValueError(
                f"formula of the figure '{key}' is {declaration.kind_of(self.formula)}; expected a function of tables"
            )
        of = f"of the figure '{key}'"
        values = {"key": key, "title": declaration.text(f"title {of}", self.title)}
        values |= {
            name: declaration.text(f"{name} {of}", getattr(self, name)) for name in ("note", "unit", "shown_unit")
        }
        factor = declaration.number(f"factor {of}", self.factor)
        if not factor:
            raise ValueError(f"factor {of} is 0; expected what converts the SI value into the shown one")
        if not values["shown_unit"] and factor == 1:
            values["shown_unit"] = values["unit"]
        others = {
            "factor": factor,
            "digits": declaration.whole(f"digits {of}", self.digits, -1, 15),
            "number": declaration.whole(f"number {of}", self.number, 0, 2**32 - 1),
            "shown": declaration.member(f"shown {of}", self.shown, Shown),
            "better": declaration.member(f"better {of}", self.better, Better),
            **{n: declaration.flag(f"{n} {of}", getattr(self, n)) for n in ("on_map", "in_trend", "by_size")},
        }
        for name, value in (values | others).items():
            object.__setattr__(self, name, value)

    @property
    def in_percent(self) -> bool:
        """Whether it is a ratio that is shown times 100: in percent, or a difference of such in percentage points."""
        return not self.unit and self.factor == 100

    def text_number(self, value: float | None) -> str:
        """Return the value without its unit, a dash if there is none.

        >>> fidelity = Figure("fidelity", "write fidelity", "", shown_unit="%", factor=100, digits=2)
        >>> fidelity.text_number(0.98214), fidelity.text_number(None)
        ('98.21', '–')
        """
        if value is None or not np.isfinite(value):
            return "–"
        shown = value * self.factor
        return f"{shown:.4g}" if self.digits < 0 else f"{shown:,.{self.digits}f}"

    def text(self, value: float | None) -> str:
        """Return the value with its unit.

        >>> Figure("r_p", "R_P", "", unit="ohm", shown_unit="kΩ", factor=1e-3, digits=2).text(2390.0)
        '2.39 kΩ'
        """
        number = self.text_number(value)
        return number if number == "–" or not self.shown_unit else f"{number} {self.shown_unit}"

    def of_group(self, group: str) -> "Figure":
        """Return the figure of the kernels of one size.

        >>> Figure("r_p", "R_P", "", unit="ohm", number=300).of_group("60 nm").title
        'R_P, 60 nm'
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Figure(**{**values, "key": f"{self.key}[{group}]", "title": f"{self.title}, {group}", "number": 0})

    def plain(self) -> dict[str, Any]:
        """Return the declaration as JSON has it, without the formula."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "formula"}
        return {**values, "shown": self.shown.value, "better": self.better.value}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> "Figure":
        """Return a declaration that `plain` made; keys of later versions are left alone."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in plain.items() if name in known})


def split_name(name: str) -> tuple[str, str]:
    """Return key and group of the name of a figure; the group is "" where it has none.

    >>> split_name("r_p[60 nm]"), split_name("tmr")
    (('r_p', '60 nm'), ('tmr', ''))
    """
    match = _NAME.fullmatch(name)
    return (name, "") if match is None else (match["key"], match["group"] or "")


class Figures(Mapping[str, Figure]):
    """Declared figures by name, in the order in which they are shown.

    ``figures["r_p[60 nm]"]`` is that of a group of a declared figure. A name that nobody declared gives a plain figure
    of that name, so that no value in a run is ever left out; `in` says whether it is declared.

    Raises:
        ValueError: two declarations of one key differ.
    """

    def __init__(self, declared: Iterable[Figure]) -> None:
        self._declared: dict[str, Figure] = {}
        for figure in declared:
            other = self._declared.setdefault(figure.key, figure)
            if other != figure or other.formula is not figure.formula:
                raise ValueError(f"the figure '{figure.key}' is declared twice, as '{other.note}' and '{figure.note}'")

    @classmethod
    def of_run(cls, meta: Mapping[str, Any]) -> "Figures":
        """Return the figures that a run declares in its meta; none if it declares none.

        Raises:
            StorageError: what stands there is no declaration.
        """
        try:
            return cls(Figure.read(plain) for plain in meta.get("figures", ()))
        except (ValueError, TypeError, AttributeError) as error:
            raise StorageError(f"a figure that this run declares cannot be read: {error}") from error

    def __getitem__(self, name: str) -> Figure:
        key, group = split_name(name)
        figure = self._declared.get(key) or _undeclared(key)
        return figure.of_group(group) if group else figure

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and split_name(name)[0] in self._declared

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Return names without repetition as they are shown: as declared, and last those that nobody declared."""
        order = {key: k for k, key in enumerate(self._declared)}
        return sorted(dict.fromkeys(names), key=lambda name: order.get(split_name(name)[0], len(order)))

    def chosen(self, names: Iterable[str], *shown: Shown) -> list[Figure]:
        """Return the figures of `names` that are shown in one of these places, in order."""
        return [self[name] for name in self.in_order(names) if self[name].shown in shown]


def _undeclared(key: str) -> Figure:
    return Figure(key if _NAME.fullmatch(key) else "undeclared", key.replace("_", " "), "", on_map=False)


def sizes(diameters: Iterable[float]) -> dict[str, tuple[int, ...]]:
    """Return the kernels of each nominal diameter, in m; empty if all have the same.

    >>> sizes([60e-9, 100e-9, 60e-9]), sizes([80e-9, 80e-9])
    ({'60 nm': (0, 2), '100 nm': (1,)}, {})
    """
    groups: dict[str, tuple[int, ...]] = {}
    for kernel, diameter in enumerate(diameters):
        label = f"{diameter * 1e9:.4g} nm"
        groups[label] = (*groups.get(label, ()), kernel)
    return groups if len(groups) > 1 else {}


def newest(table: Columns, *keys: str) -> Array:
    """Return the rows of a table that are the newest with their values of the columns `keys`, in order.

    >>> newest({"kernel": np.array([0, 1, 0])}, "kernel")
    array([1, 2])
    """
    last = {values: row for row, values in enumerate(zip(*(table[key].tolist() for key in keys), strict=True))}
    return np.array(sorted(last.values()), np.int64)


def middle_half(values: Array) -> float | None:
    """Return the mean of the finite values from the first to the third quartile, None of none; of two values, of both.

    It is as robust as the median, and finer where a converter of few bits gives many cells the same value.

    >>> middle_half(np.array([1.0, 2.0, 3.0, 4.0, 500.0]))
    3.0
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.percentile(finite, (25, 75))
    middle = finite[(finite >= low) & (finite <= high)]
    return float((middle if middle.size else finite).mean())  # the quartiles of two values lie between them
