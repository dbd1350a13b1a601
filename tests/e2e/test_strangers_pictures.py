"""Protocols of other distributions whose figures and pictures are not what they should be, through every command.

Each field gets a value of each wrong kind, and each declared picture gets columns that it cannot be drawn from. The
plug-in is named, the rest of the page is made, and nothing is called a bug of this suite.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from labctl.core import plugins
from labctl.core.errors import BenchError
from labctl.core.figure import Figure
from labctl.core.picture import CellMap, Curves, plain
from labctl.core.plugins import PROTOCOLS, Plugin
from labctl.core.procedure import Procedure
from labctl.core.record import Record
from labctl.station import plugins as ours
from tests import small_run


class Odd:
    """What raises whatever it is asked."""

    def _raise(self, *_: Any) -> Any:
        raise ZeroDivisionError("asked")

    __len__ = __iter__ = __bool__ = __str__ = __repr__ = __eq__ = __hash__ = __float__ = __index__ = __getitem__ = (
        _raise
    )
    __array__ = __format__ = __getattr__ = __call__ = _raise


WRONG: dict[str, Any] = {
    "None": None,
    "text": "nonsense",
    "NUL": "a\0b",
    "long text": "x" * 5000,
    "int": 7,
    "float": 1.5,
    "NaN": float("nan"),
    "infinite": float("inf"),
    "huge": 10**400,
    "list": [1, [2]],
    "dict": {"a": 1},
    "bytes": b"abc",
    "tuple": (None, 1),
    "matrix": np.ones((2, 3)),
    "objects": np.array([None, "a"], object),
    "complex": 1j,
    "class": dict,
    "odd": Odd(),
}
GOOD: dict[type, dict[str, Any]] = {
    Figure: {
        "key": "own", "title": "own", "note": "of a stranger", "formula": len, "unit": "V", "shown_unit": "mV",
        "factor": 1e3, "digits": 2, "number": 70_000, "shown": "headline", "better": "high", "on_map": True,
        "in_trend": True, "by_size": False,
    },
    CellMap: {"table": "own", "column": "g", "title": "map", "unit": "S", "factor": 1.0, "marks": "m"},
    Curves: {
        "table": "own", "x": "x", "y": "y", "title": "curve", "x_title": "x", "y_title": "y", "x_factor": 1.0,
        "y_factor": 1.0, "by": ("kernel",),
    },
}  # fmt: skip
CASES = [(kind, field, wrong) for kind, fields in GOOD.items() for field in fields for wrong in WRONG]


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that registers a protocol 'odd' of another distribution, made when it is loaded."""
    registered = plugins.registered

    def register(make: Any) -> Plugin:
        class Made(Plugin):
            def load(self) -> Any:
                try:
                    return make()
                except Exception as error:
                    raise BenchError(
                        f"'odd' of lab-odd 1.0 cannot be loaded: {type(error).__name__}: {error}"
                    ) from error

        odd = Made(PROTOCOLS, "odd", "lab_odd:Odd", "lab-odd", "1.0")
        for module in (plugins, ours):
            if hasattr(module, "registered"):
                monkeypatch.setattr(
                    module, "registered", lambda group: (*registered(group), *([odd] if group == PROTOCOLS else []))
                )
        monkeypatch.setattr("labctl.report.drawings.registered", plugins.registered)
        monkeypatch.setattr("labctl.report.formulas.registered", plugins.registered)
        return odd

    return register


def protocol(**declared: Any) -> type[Procedure]:
    """Return a protocol with these declarations, as a class body makes it."""

    class Own(Procedure):
        name: ClassVar[str] = "odd"

        def run(self, die: Any, history: Any) -> Any:
            yield from ()

    for name, value in declared.items():
        setattr(Own, name, value)
    return Own


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_a_declaration_with_a_value_of_another_kind_is_refused_by_its_field_or_can_be_stored(kind: type) -> None:
    kind(**GOOD[kind])
    refused: list[tuple[str, str]] = []
    for of, field, name in CASES:
        if of is not kind:
            continue
        try:
            made = kind(**{**GOOD[kind], field: WRONG[name]})
        except ValueError as error:
            refused.append((field, str(error)))
        else:
            stored = made.plain() if isinstance(made, Figure) else plain(made)
            assert json.loads(json.dumps(stored, allow_nan=False)) is not None
            hash(made)
    assert len(refused) > 10 * len(GOOD[kind])
    assert all(field in text and len(text) < 400 for field, text in refused)


@pytest.mark.parametrize(("kind", "what"), [(Figure, "figures"), (CellMap, "pictures"), (Curves, "pictures")])
def test_commands_on_a_run_do_not_mind_a_plug_in_that_declares_nonsense(
    tmp_path: Path, labctl: Any, stranger: Any, kind: type, what: str
) -> None:
    run = small_run.write_run(tmp_path / "run", figures=[Figure("fidelity", "fidelity", "").plain()])
    for _, field, name in [case for case in CASES if case[0] is kind][::29]:  # all of them are judged above
        stranger(lambda values={**GOOD[kind], field: WRONG[name]}: protocol(**{what: (kind(**values),)}))
        labctl("show", run)
        labctl("report", run)
    for declared in (None, [], "abc", (None,), Odd(), (Odd(),), [Figure("own", "own", "")]):
        plugin = stranger(lambda declared=declared: protocol(**{what: declared}))
        labctl("report", run)
        with pytest.raises(BenchError, match=rf"'odd' of lab-odd 1\.0 \(lab_odd:Odd\) declares {what} with"):
            ours.usable(plugin)


SHAPES: dict[str, Any] = {
    "texts": np.array([["a", "b"], ["c", "d"]]),
    "a number a row": np.array([1.0, 2.0]),
    "one axis too many": np.ones((2, 2, 3, 4)),
    "nothing": np.zeros((2, 0, 0)),
    "NaN": np.full((2, 2, 3), np.nan),
    "infinite": np.full((2, 2, 3), np.inf),
    "huge": np.array([[[-1e308, 1e308]], [[1e308, -1e308]]]),
    "tiny": np.array([[[0.0, 5e-324]], [[0.0, 5e-324]]]),
    "complex": np.ones((2, 2, 3)) * 1j,
    "bools": np.ones((2, 2, 3), bool),
    "large integers": np.full((2, 2, 3), 2**63 - 1),
    "bytes": np.array([[b"a"], [b"b"]]),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Own(Record):
    table: ClassVar[str] = "own"

    kernel: Any
    g: np.ndarray
    y: np.ndarray


QUICK = [("texts", "A"), ("huge", 0), ("one axis too many", 1.5)]
PICTURES = (
    CellMap("own", "g", "map of $\\nonsense$", "S"),
    CellMap("own", "g", "marked", marks="y"),
    Curves("own", "g", "y", "curve of $x$", "x", "y"),
    Curves("own", "g", "g", "itself", "x", "y", by=("kernel",)),
    Curves("own", "g", "nowhere", "missing", "x", "y"),
    CellMap("own", "kernel", "one number"),
)


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [
        pytest.param(shape, kernel, marks=[] if (shape, kernel) in QUICK else pytest.mark.slow)
        for shape in SHAPES
        for kernel in (0, "A", 1.5)
    ],
)
def test_what_a_strangers_tables_do_not_let_be_drawn_is_named_and_the_rest_is_made(
    tmp_path: Path, labctl: Any, monkeypatch: pytest.MonkeyPatch, stranger: Any, shape: str, kernel: Any
) -> None:
    stranger(protocol)
    records = [Own(kernel=np.asarray(kernel), g=np.asarray(row), y=np.asarray(row)) for row in SHAPES[shape]]
    monkeypatch.setattr(small_run, "write_die", partial(small_run.write_die, records=records))
    declared = [{**plain(one), "protocol": "odd"} for one in PICTURES]
    run = small_run.write_run(tmp_path / "run", pictures=declared)
    for words in (("show", run, "--plot"), ("report", run)):
        done = labctl(*words, expect=2)
        assert "'odd' of lab-odd 1.0, which is not part of this suite" in done.stderr
        assert "the picture 'missing' of the table 'own' cannot be drawn" in done.stderr
    assert "die" in labctl("show", run, expect=2).stdout
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "the table &#39;own&#39; has no column &#39;nowhere&#39;" in page
    assert (run / "report.json").stat().st_size
    labctl("export", run, "--csv", tmp_path / "csv", "--stdf", tmp_path / "a.stdf", "--g85", tmp_path / "a.xml")
    assert (tmp_path / "csv" / "own.csv").is_file()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, -5e-324], ids=str)
def test_a_figure_that_is_no_number_is_missing_on_the_map_and_in_the_trend(
    tmp_path: Path, labctl: Any, value: float
) -> None:
    figure = Figure("fidelity", "fidelity", "", number=70_000, factor=1e3, in_trend=True)
    run = small_run.write_run(tmp_path / "run", fidelity=value, figures=[figure.plain()])
    labctl("report", run)
    labctl("show", run)
    labctl("export", run, "--stdf", tmp_path / "a.stdf", "--csv", tmp_path / "csv")
    assert (tmp_path / "a.stdf").stat().st_size > 400
