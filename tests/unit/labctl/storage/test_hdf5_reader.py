"""A die is the same die before and after it is sealed: every view of it is equal, whatever was recorded."""

import itertools
from dataclasses import make_dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Annotated, Any, ClassVar

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labctl.core.events import UnknownEvent
from labctl.core.record import Record
from labctl.core.units import Volt, Volts
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.hdf5_writer import seal
from labctl.storage.journal import Journal
from tests.views import differences


class Colour(IntEnum):
    RED = 1
    DARK_BLUE = 200


class Bits(IntFlag):
    LOW = 1
    HIGH = 4


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=6)
DTYPES = ("f2", "f4", "f8", "i1", "i8", "u2", "u8", "?", "c16", "S3", "U4")
FIELDS: dict[str, Any] = {
    "voltage": Volt, "count": int, "good": bool, "note": str, "colour": Annotated[int, Colour],
    "map_": np.ndarray, "levels": Volts, "codes": Annotated[np.ndarray, Bits], "line": np.ndarray,
}  # fmt: skip
SHAPES = {"map_": (2, 3), "levels": (4,), "codes": (3, 1, 2), "line": (5,)}
AXES = {"map_": ("row", "col"), "codes": ("kernel", "row", "col"), "levels": ("rung",)}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "voltage": st.floats(), "count": st.integers(-9, 9), "good": st.booleans(), "note": TEXTS,
    "colour": st.sampled_from(Colour),
}  # fmt: skip
_NUMBERS = itertools.count()


def record_type(names: list[str], columnar: bool = False, axes: Any = ()) -> Any:
    """Return a new type of record with some of `FIELDS`."""
    attributes = {"table": f"table_{next(_NUMBERS)}", "columnar": columnar, "axes": dict(axes)}
    array = [name for name in names if columnar and name not in ("codes", "levels")]
    return make_dataclass(
        "Drawn",
        [(name, np.ndarray if name in array else FIELDS[name]) for name in names],
        bases=(Record,), frozen=True, eq=False, kw_only=True,
        namespace={**attributes, "__annotations__": dict.fromkeys(attributes, ClassVar[Any])},
    )  # fmt: skip


def arrays(dtype: str, shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return hnp.arrays(dtype, shape, elements=TEXTS.map(lambda text: text[:4]) if dtype[0] == "U" else None)


@st.composite
def tables(draw: st.DrawFn) -> list[Record]:
    """Return the records of one table, of some of `FIELDS` in some order."""
    names = draw(st.permutations(sorted(FIELDS)))[: draw(st.integers(1, len(FIELDS)))]
    columnar = draw(st.booleans())
    axes = {name: AXES[name] for name in names if name in AXES and not columnar and draw(st.booleans())}
    dtypes = {name: draw(st.sampled_from(DTYPES)) for name in names} | {"levels": "f8", "codes": "u1"}
    kind, records = record_type(names, columnar, axes), []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(0, 3))
        shapes = dict.fromkeys(names, (n,)) if columnar else SHAPES
        values = {name: draw(arrays(dtypes[name], shapes[name]) if name in shapes else VALUES[name]) for name in names}
        records.append(kind(**values))
    return records


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS
    | st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, (2, 3))),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
MAPS = st.dictionaries(TEXTS, BODIES, max_size=3)
METAS = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(TEXTS))


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # to make an example smaller takes minutes


@settings(max_examples=30, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(st.lists(tables(), max_size=2), st.lists(MAPS, max_size=3), st.lists(st.tuples(MAPS, MAPS), max_size=3), METAS)
def test_a_sealed_die_is_the_die_of_its_journal(
    tmp_path_factory: pytest.TempPathFactory,
    recorded: list[list[Record]],
    events: list[dict[str, Any]],
    operations: list[tuple[dict[str, Any], dict[str, Any]]],
    meta: dict[str, Any],
) -> None:
    run = tmp_path_factory.mktemp("run")
    with Journal.create(run / "dies" / "D1", {**meta, "die": "D1"}) as journal:
        for number, record in enumerate(itertools.chain(*recorded)):
            journal.record(f"stage {number % 2}", record)
        for body in events:
            journal.event(UnknownEvent("drawn", body), stage="stage 1")
        for intent, result in operations:
            seq = journal.intend("stage 1", "sense", intent)
            if result:
                journal.result(seq, result)
        journal.finish()
    seal(run, "D1")
    with Journal.open(run / "dies" / "D1") as journal, SealedDie(run / "dies" / "D1.h5") as sealed:
        assert differences(journal, sealed) == []


def test_columns_keep_their_order_axes_and_codes(tmp_path: Path) -> None:
    kind = record_type(["voltage", "codes", "colour"], axes={"codes": ("kernel", "row", "col")})
    with Journal.create(tmp_path / "dies" / "D1", {"die": "D1"}) as journal:
        journal.record("s", kind(voltage=0.5, codes=np.ones((3, 1, 2), np.uint8), colour=Colour.RED))
        journal.finish()
    seal(tmp_path, "D1")
    with SealedDie(tmp_path / "dies" / "D1.h5") as sealed:
        table = sealed.table(kind.table)
    assert list(table) == ["seq", "stage", "utc", "voltage", "codes", "colour"]
    assert table.axes == {"codes": ["kernel", "row", "col"]}
    assert table.codes == {"codes": {"low": 1, "high": 4}, "colour": {"red": 1, "dark_blue": 200}}
    with h5py.File(tmp_path / "dies" / "D1.h5") as file:
        labels = [axis.label for axis in file[f"entry/records/{kind.table}/codes"].dims]
    assert labels == ["record", "kernel", "row", "col"]


def test_axes_that_an_array_does_not_have_are_refused(tmp_path: Path) -> None:
    kind = record_type(["line"], axes={"line": ("row", "col")})
    with (
        Journal.create(tmp_path / "D1", {}) as journal,
        pytest.raises(TypeError, match=r"line has the axes \['row', 'col'\] and an array of 1"),
    ):
        journal.record("s", kind(line=np.ones(5)))
