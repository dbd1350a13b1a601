"""A refusal of a plan names stage and die, and its counts are those of the rehearsal."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die import Die
from labctl.core.errors import BenchError, LimitError
from labctl.core.limits import Limits
from labctl.core.operations import Pulse, Sense
from labctl.core.picture import CellMap, Curves, Picture
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from labctl.core.units import FloatArray
from labctl.execution.nominal_die import NominalDie
from labctl.execution.plan import DiePlan, rehearse, total

LIMITS = Limits(v_towards_p=0.6, v_towards_ap=0.6, width=1e-3, compliance=1e-2, v_count=0.3, pulses_per_cell=10)


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen(Record):
    table: ClassVar[str] = "seen"

    current: FloatArray


class Touch(Procedure):
    """Pulse all cells of a column `pulses` times at `volts`, then read all, `rounds` times."""

    name: ClassVar[str] = "touch"

    volts: float = 0.5
    pulses: int = 2
    kernel: int = 0
    rounds: int = 1

    def run(self, die: Die, history: History) -> Iterator[Record]:
        row, col = np.full((self.pulses, 2), self.volts), np.zeros((self.pulses, 3))
        bias = Bias(row, col, kernel=np.int64(self.kernel), compliance=1e-3)
        for _ in range(self.rounds):
            die.pulse(Pulse(bias, 1e-4))
            yield Seen(current=die.sense(Sense(bias.scaled(0.2), np.arange(3))).current)

    def rehearsal(self) -> tuple["Touch", int]:
        return self.model_copy(update={"rounds": 1}), self.rounds


class Whole(Touch):
    """The same, rehearsed from the first round to the last."""

    def rehearsal(self) -> tuple["Touch", int]:
        return self, 1


def plan(*procedures: Procedure) -> DiePlan:
    die = NominalDie(Geometry(2, 2, 3), Nominal.alike(4e-4, 2e-4, 2), timing=lambda operation: 0.25)
    return rehearse("D80", die, LIMITS, procedures)


def test_a_limit_refused_says_which_stage_of_which_die_asked() -> None:
    with pytest.raises(LimitError) as caught:
        plan(Touch(), Touch(volts=0.8))
    assert str(caught.value) == ("stage touch of die D80: cell voltage towards P: 0.8 V asked for, the limit is 0.6 V")
    assert (caught.value.value, caught.value.limit, caught.value.unit) == (0.8, 0.6, "V")


def test_what_the_die_cannot_do_says_so_too() -> None:
    with pytest.raises(BenchError, match="stage touch of die D80: kernel 5 is not on this die"):
        plan(Touch(kernel=5))


def test_a_refusal_begins_with_the_place_of_the_stage_where_it_is_known() -> None:
    die = NominalDie(Geometry(2, 2, 3), Nominal.alike(4e-4, 2e-4, 2), timing=lambda operation: 0.25)
    places = [lambda value: f"c.yaml:7 {value}", lambda value: f"c.yaml:9 {value}"]
    with pytest.raises(LimitError, match=r"^c\.yaml:9 0\.8: cell voltage towards P: 0\.8 V"):
        rehearse("D80", die, LIMITS, [Touch(), Touch(volts=0.8)], places=places)
    with pytest.raises(BenchError, match=r"^c\.yaml:9 None: kernel 5 is not on this die"):
        rehearse("D80", die, LIMITS, [Touch(), Touch(kernel=5)], places=places)


def test_what_yields_no_records_is_told_so() -> None:
    class Careless(Touch):
        def run(self, die: Die, history: History) -> Iterator[Record]:
            yield {"volts": 0.1}  # type: ignore[misc]

    with pytest.raises(BenchError, match=r"'touch' yields \{'volts': 0.1\}; expected a Record"):
        plan(Careless())


def test_pulses_of_all_repetitions_count_against_the_limit() -> None:
    plan(Touch(rounds=5))
    with pytest.raises(LimitError, match="stage touch of die D80: predicted pulses on one cell: 12 pulses"):
        plan(Touch(rounds=6))


def test_repetitions_multiply_what_one_takes() -> None:
    (one,), (three,) = plan(Touch()).stages, plan(Touch(rounds=3)).stages
    assert (one.operations, one.pulses, one.reads, one.time) == (2, 2, 2, 0.5)
    assert (three.operations, three.pulses, three.reads, three.time) == (6, 6, 6, 1.5)
    assert (one.v_highest, one.levels) == (0.5, 2)
    assert one.bytes < three.bytes < 3 * one.bytes


def test_the_cost_of_a_die_counts_once_and_arrays_that_repeat_are_stored_once() -> None:
    first, second = plan(Touch(), Touch()).stages
    assert first.bytes > second.bytes
    sizes = [plan(Whole(rounds=n, pulses=3)).stages[0].bytes for n in (0, 1, 2, 3)]
    assert sizes[3] - sizes[2] == sizes[2] - sizes[1] < 0.8 * (sizes[1] - sizes[0])
    whole = total([plan(Touch()), plan(Touch())])
    assert whole.bytes == 2 * first.bytes


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (
            Curves("seen", "current", "voltage", "own", "x", "y"),
            "the table 'seen' has no column 'voltage'; it has current",
        ),
        (CellMap("seen", "current", "own"), "the table 'seen' has no column 'kernel'"),
        (Curves("seen", "current", "current", "own", "x", "y", by=("current",)), "expected one value a row"),
    ],
)
def test_a_picture_that_cannot_be_drawn_from_the_first_record_is_refused(picture: Picture, words: str) -> None:
    kind = type("Drawn", (Touch,), {"pictures": (picture,), "__module__": __name__})
    with pytest.raises(BenchError, match="'touch' declares the picture 'own' of the table 'seen': ") as error:
        plan(kind())
    assert words in str(error.value)


def test_a_table_of_ours_is_not_for_another_record() -> None:
    @dataclass(frozen=True, eq=False, kw_only=True)
    class Survey(Record):
        table: ClassVar[str] = "survey"

    class Again(Touch):
        def run(self, die: Die, history: History) -> Iterator[Record]:
            yield Survey()

    with pytest.raises(BenchError, match="'touch' yields records of the table 'survey', which is one of this suite"):
        plan(Again())
