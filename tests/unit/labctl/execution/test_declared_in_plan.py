"""What a protocol of another distribution declares and its records do not give is known before the run."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from labctl.core.bias import Geometry, Nominal
from labctl.core.errors import BenchError
from labctl.core.figure import Figure
from labctl.core.limits import Limits
from labctl.core.picture import Curves
from labctl.core.procedure import Procedure
from labctl.core.record import Record
from labctl.core.units import FloatArray
from labctl.execution.nominal_die import NominalDie
from labctl.execution.plan import rehearse
from labctl.testing import ContractError, check_protocol
from protocols.by_hand import ReadCell
from tests.unit.labctl.testing.test_broken import die

LIMITS = Limits(v_towards_p=0.6, v_towards_ap=0.6, width=1e-3, compliance=1e-2, v_count=0.3, pulses_per_cell=10)


@dataclass(frozen=True, eq=False, kw_only=True)
class Walk(Record):
    table: ClassVar[str] = "walk"
    columnar: ClassVar[bool] = True

    reading: FloatArray
    change: FloatArray


def named(formula, table="walk"):
    class Walking(Procedure):
        """Yield two readings."""

        name: ClassVar[str] = "walking"
        figures = (Figure("walked", "walked", "a change", formula),)
        pictures = (Curves(table, "reading", "change", "the walk", "reading", "change"),)

        def run(self, die, history):
            for k in range(2):
                yield Walk(reading=np.array([k, k]), change=np.array([0.1, 0.2]) * k)

    return Walking()


def doubts(procedure):
    nominal = NominalDie(Geometry(1, 2, 3), Nominal.alike(4e-4, 2e-4, 1), timing=lambda operation: 0.25)
    return rehearse("D80", nominal, LIMITS, [procedure]).doubts


WRONG = {
    "table of a figure": (
        named(lambda tables: tables["wlak"]["change"].max()),
        "the figure 'walked' reads the table 'wlak', of which no stage yields a record, and will be absent; the stages "
        "yield 'walk'",
    ),
    "table of a picture": (
        named(lambda tables: 1.0, table="wakl"),
        "the picture 'the walk' is of the table 'wakl', of which no stage yields a record, and will not be drawn; the "
        "stages yield 'walk'",
    ),
    "array": (
        named(lambda tables: tables["walk"]["change"]),
        "the figure 'walked' fails on what was rehearsed, and will be NaN: TypeError: ",
    ),
    "column": (
        named(lambda tables: tables["walk"]["chnage"].max()),
        "the figure 'walked' fails on what was rehearsed, and will be NaN: KeyError: 'chnage' (test_declared",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_no_die_will_have_is_told_before(register, kind):
    procedure, words = WRONG[kind]
    assert doubts(procedure) == []  # of ours nothing is asked
    register("labctl.protocols", {"walking": f"{__name__}:Walking"})
    ((number, text),) = doubts(procedure)
    assert (number, text[: len(words)]) == (0, words)
    with pytest.raises(ContractError, match=r"'walked'|'the walk'"):
        check_protocol(procedure, die)


@pytest.mark.parametrize(
    "formula",
    [
        lambda tables: tables["walk"]["change"].max(),
        lambda tables: None,
        lambda tables: tables["survey"]["tmr"].mean(),  # of another stage, which may come or not
        lambda tables: 1.0 / tables["walk"]["change"][0],
    ],
)
def test_what_a_die_may_have_is_left_alone(register, formula):
    register("labctl.protocols", {"walking": f"{__name__}:Walking"})
    assert doubts(named(formula)) == []


def test_a_run_without_yield_is_refused_in_words(register):
    class Silent(Procedure):
        """Yield nothing."""

        name: ClassVar[str] = "silent"

        def run(self, die, history):
            return None

    with pytest.raises(BenchError, match=r"run of 'silent' returns None; expected records, as with 'yield'"):
        doubts(Silent())


def test_a_protocol_is_checked_on_the_dies_of_a_file(tmp_path):
    path = tmp_path / "die.yaml"
    path.write_text("name: s\ngeometry: {n_rows: 2, n_cols: 3}\njunction: {diameter: 80 nm}\n")
    check_protocol(ReadCell(kernel=0, row=1, col=2), path)
