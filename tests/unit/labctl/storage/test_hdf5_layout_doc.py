"""docs/hdf5-layout.md lists every dataset of every table, as the record classes declare them.

Run as a program, this file writes the tables into the document.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import get_type_hints

import pytest

import protocols
from labctl.core.defects import Defect
from labctl.core.operations import Flag
from labctl.core.record import Record, meanings_of, units_of
from labctl.core.units import BoolArray, FloatArray, IntArray
from labctl.export.dictionary import FLAGS, USUAL
from labctl.storage.tables import columns_of
from protocols.records import TABLES

DOCUMENT = Path(__file__).parents[4] / "docs" / "hdf5-layout.md"
BEGIN, END = "<!-- tables:", "<!-- end of tables -->"
COMMON = (
    "Besides its fields every table has `seq`, `stage` and `utc`; n is its number of rows. A field with axes has\n"
    "them after the rows. Ratios run from 0 to 1; intervals are (low, high). In `solution`, -1 stands for a survey.\n"
    "Along the axis `direction`, 0 is towards AP and 1 is towards P; `row`, `col`, `layer` and `kernel` count from 0."
)
TYPES = {float: "float64", int: "int64", bool: "bool", str: "text"}
ARRAYS = {FloatArray: "float64", IntArray: "int64", BoolArray: "bool"}


def record_types() -> list[type[Record]]:
    """Every record class of the protocols, in the order of their modules and lines."""
    kinds: dict[str, type[Record]] = {}
    for module in pkgutil.walk_packages(protocols.__path__, "protocols."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = kind.__module__ == module.name
            if own and issubclass(kind, Record) and "table" in vars(kind):
                kinds[kind.table] = kind
    return sorted(kinds.values(), key=lambda k: (k.__module__, inspect.getsourcelines(k)[1]))


def rows(kind: type[Record]) -> Iterator[str]:
    """One line of the document per field."""
    hints, units, texts, columns = get_type_hints(kind), units_of(kind), meanings_of(kind), columns_of(kind)
    for field in fields(kind):
        name, text = field.name, texts.get(field.name) or USUAL.get(field.name, "")
        match = re.match(r"(\([^)]*,[^)]*\))(?:, )?(.*)", text)
        shape = "(n,)"
        if match:
            text = match[2]
            if not kind.columnar:
                shape = f"(n, {match[1].strip('(),')})"
        elif columns.kinds[name] == "array" and not kind.columnar:
            shape = "(n, ...)"
        hint = hints[name]
        dtype = TYPES.get(hint) or next((d for a, d in ARRAYS.items() if hint == a), "uint8")
        unit = "" if dtype == "text" else units[name] or "1"
        axes = ", ".join(columns.axes.get(name, ()))
        yield f"| `{name}` | {shape} | {axes} | {dtype} | {unit} | {text} |"


def codes(kind: type[IntEnum] | type[IntFlag], title: str) -> Iterator[str]:
    """The members of an enumeration as a table."""
    texts = {**FLAGS, **meanings_of(kind)}
    yield f"### {title}\n\n| code | name | meaning |\n|---|---|---|"
    for member in kind:
        yield f"| {int(member)} | {member.name.lower()} | {texts.get(member.name, '')} |"
    yield ""


def render() -> str:
    """What stands between the marks of the document."""
    lines = [COMMON, ""]
    for kind in record_types():
        assert kind.__doc__
        many = " One record makes many rows." if kind.columnar else ""
        lines += [f"### `{kind.table}`", "", " ".join(kind.__doc__.split()) + many, ""]
        lines += ["| field | shape | axes | type | units | meaning |", "|---|---|---|---|---|---|", *rows(kind), ""]
    lines += codes(Defect, "Codes of `defect`")
    lines += codes(Flag, "Bits of `flag` and `pulse_flag`")
    lines += ["A `flag` of 0 is a good reading; otherwise it is the sum of the bits that apply.", ""]
    return "\n".join(lines)


def parts() -> tuple[str, str, str]:
    """The document before, between and after the marks."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    line, _, rest = rest.partition("\n")
    between, end, after = rest.partition(END)
    assert mark
    assert end
    return f"{before}{mark}{line}\n", between, f"{end}{after}"


def test_the_document_says_what_the_record_classes_say() -> None:
    assert parts()[1].strip() == render().strip(), (
        "docs/hdf5-layout.md is not what the record classes say; write it anew: "
        "python tests/unit/labctl/storage/test_hdf5_layout_doc.py"
    )


@pytest.mark.parametrize("kind", record_types(), ids=lambda kind: kind.table)
def test_every_field_has_a_meaning_and_every_array_its_axes(kind: type[Record]) -> None:
    texts, columns = {**USUAL, **meanings_of(kind)}, columns_of(kind)
    assert not [f.name for f in fields(kind) if len(texts.get(f.name, "")) < 5]
    if kind in TABLES:
        arrays = {name for name, what in columns.kinds.items() if what == "array"}
        assert set(columns.axes) == (set() if kind.columnar else arrays)


def test_codes_travel_with_the_tables() -> None:
    survey = next(kind for kind in record_types() if kind.table == "survey")
    assert columns_of(survey).codes["defect"]["short"] == Defect.SHORT
    attempt = next(kind for kind in record_types() if kind.table == "attempt")
    assert columns_of(attempt).codes["flag"] == {"compliance": 1, "overrange": 2, "invalid": 4, "unknown": 8}


if __name__ == "__main__":
    before, _, after = parts()
    DOCUMENT.write_text(f"{before}\n{render()}\n{after}", encoding="utf-8")
