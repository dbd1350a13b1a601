"""The run loop journals before and after, leaves the die idle, and says how it ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die_state import State
from labctl.core.errors import InstrumentError, LimitError, StorageError, SwitchedOff
from labctl.core.exit_codes import Status
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Pulse, Sense
from labctl.core.plugins import PROTOCOLS
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from labctl.execution.nominal_die import NominalDie
from labctl.execution.recorded_die import GRACE, SLOWER, THINKING, RecordedDie
from labctl.execution.replay import Replay
from labctl.execution.run_loop import run
from labctl.execution.stop import Stop
from labctl.storage.journal import Journal

LIMITS = Limits(v_towards_p=0.6, v_towards_ap=0.6, width=1e-3, compliance=1e-2, v_count=0.35, pulses_per_cell=50)
GEOMETRY = Geometry(2, 2, 3)


class IdleCounting(NominalDie):
    """A nominal die that counts how often it was made safe, and may fail to be."""

    idles = 0
    broken = False

    def idle(self) -> None:
        self.idles += 1
        if self.broken:
            raise InstrumentError("SMU channel 1 does not answer")
        super().idle()


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen(Record):
    table: ClassVar[str] = "seen"
    number: int
    current: float


class Reads(Procedure):
    """Read `n` patterns, yield the sum, then do what `then` says."""

    name: ClassVar[str] = "reads"
    n: int = 4
    then: str = ""

    def run(self, die, history: History) -> Iterator[Record]:
        bias = Bias(np.full((self.n, 2), 0.1), np.zeros((self.n, 3)), kernel=np.arange(self.n) % 2)
        reading = die.sense(Sense(bias, np.arange(3)))
        yield Seen(number=len(history.all(Seen)), current=float(reading.current.sum()))
        if self.then == "limit":
            die.sense(Sense(bias.scaled(9.0), np.arange(3)))
        if self.then == "bug":
            raise ZeroDivisionError("no")
        if self.then == "instrument":
            raise InstrumentError("the SMU reports -286")
        if self.then == "interrupt":
            raise KeyboardInterrupt


def make(tmp_path, seconds=1e-3):
    die = IdleCounting(GEOMETRY, Nominal.alike(4e-4, 2e-4, 2), timing=lambda operation: seconds * len(operation))
    return die, Limited(die, LIMITS), Journal.create(tmp_path / "D1", {"die": "D1"})


def test_operations_and_records_are_in_the_journal_and_the_die_is_idle_at_the_end(tmp_path):
    die, limited, journal = make(tmp_path)
    history = History()
    with journal:
        outcome = run(Reads(), limited, journal, history)
        assert (outcome.status, outcome.exit_code) == (Status.SUCCESS, 0)
        assert die.idles == 1
        (operation,) = journal.operations()
        np.testing.assert_array_equal(operation.intent["bias"]["row"], np.full((4, 2), 0.1))
        assert operation.result["current"].shape == (4, 3)
        assert journal.table("seen")["current"][0] == pytest.approx(history.latest(Seen).current)
        kinds = [e.kind for e in journal.events()]
        assert kinds == ["stage_started", "stage_ended"]


@pytest.mark.parametrize(
    ("then", "status", "code", "reason"),
    [
        ("limit", Status.ABORT, 3, "limit is 0.6 V"),
        ("bug", Status.FAIL, 70, "ZeroDivisionError"),
        ("instrument", Status.FAIL, 3, "-286"),
        ("interrupt", Status.ABORT, 4, "operator"),
    ],
)
def test_whatever_ends_a_stage_the_die_is_idle_and_the_reason_is_kept(tmp_path, then, status, code, reason):
    die, limited, journal = make(tmp_path)
    with journal:
        outcome = run(Reads(then=then), limited, journal, History())
        assert (outcome.status, outcome.exit_code) == (status, code)
        assert reason in outcome.reason
        assert die.idles == 1
        ended = next(e for e in journal.events() if e.kind == "stage_ended")
        assert ended.body["outcome"] == status.value
        assert journal.table("seen").rows == 1


def test_outputs_that_cannot_be_made_safe_outrank_every_other_reason(tmp_path):
    die, limited, journal = make(tmp_path)
    die.broken = True
    with journal:
        outcome = run(Reads(then="bug"), limited, journal, History())
    assert outcome.exit_code == 6
    assert "may be live" in outcome.reason
    assert "ZeroDivisionError" in outcome.reason


def test_a_run_stops_at_the_safe_point_between_chunks_and_keeps_what_it_has(tmp_path):
    die, limited, journal = make(tmp_path, seconds=0.6)
    reasons = iter([None, None, "stopped by the operator"])
    with journal:
        outcome = run(Reads(n=7), limited, journal, History(), stop=Stop(lambda: next(reasons)))
        assert (outcome.status, outcome.exit_code) == (Status.ABORT, 4)
        operations = list(journal.operations())
        assert [len(o.result["current"]) for o in operations] == [2, 2]
        assert die.idles == 1


@pytest.mark.parametrize("then", ["interrupt", "instrument"])
def test_what_a_die_meets_while_its_bench_is_switched_off_leaves_it_interrupted(tmp_path, then):
    die, limited, journal = make(tmp_path)
    with journal:
        outcome = run(Reads(then=then), limited, journal, History(), stop=Stop(off=off_after(1)))
    assert (outcome.status, outcome.exit_code, outcome.state) == (Status.ABORT, 4, State.INTERRUPTED)
    assert outcome.reason == "switched off by alice"
    assert die.idles == 1


def test_a_bug_and_a_limit_stay_what_they_are_on_a_bench_that_is_switched_off():
    stop = Stop(off=lambda: "switched off by alice")
    assert stop.ending(ZeroDivisionError("a bug")).exit_code == 70
    assert stop.ending(LimitError("voltage", 2.0, 1.0, "V")).state is State.LIMIT_STOP
    assert stop.ending(StorageError("the disk is full")).exit_code == 5


def test_a_permit_that_is_refused_interrupts_the_die_whoever_asks_afterwards():
    outcome = Stop().ending(SwitchedOff("bench 'x' is switched off by alice"))
    assert (outcome.status, outcome.exit_code, outcome.state) == (Status.ABORT, 4, State.INTERRUPTED)


def test_a_strangers_procedure_that_fails_is_named_and_is_no_bug_of_ours(tmp_path, register):
    register(PROTOCOLS, {"reads": "lab_things:Reads"})
    _, limited, journal = make(tmp_path)

    class Wrong(Reads):
        def run(self, die, history):
            yield from super().run(die, history)
            raise KeyError("no such column")

    with journal:
        outcome = run(Wrong(), limited, journal, History())
    assert (outcome.state, outcome.exit_code) == (State.ERROR, 1)
    assert "'reads' of lab-things 1.0, which is not part of this suite, failed: KeyError" in outcome.reason
    assert "no such column" in outcome.trace


def off_after(times):
    """Return what says that nobody has switched off so many times, and then who has."""
    left = iter([None] * times)
    return lambda: next(left, "switched off by alice")


@pytest.mark.parametrize(
    ("n", "seconds", "pieces"), [(7, 0.7, [7]), (7, 2.5, [3, 3, 1]), (3, 60.0, [1, 1, 1]), (0, 0.0, [0])]
)
def test_chunks_last_at_most_about_a_second_and_lose_no_pattern(tmp_path, n, seconds, pieces):
    whole = Pulse(Bias(np.linspace(0.1, 0.2, 2 * n).reshape(n, 2), np.zeros((n, 3))), 1e-3)
    die = NominalDie(
        GEOMETRY, Nominal.alike(4e-4, 2e-4, 2), timing=lambda operation: seconds * len(operation) / max(1, n)
    )
    leases: list[float] = []
    with Journal.create(tmp_path / "D1", {"die": "D1"}) as journal:
        RecordedDie(Limited(die, LIMITS), Replay(journal), "pulses", lease=leases.append).pulse(whole)
        rows = [op.intent["bias"]["row"] for op in journal.operations()]
    assert [len(row) for row in rows] == pieces
    np.testing.assert_array_equal(np.concatenate(rows), whole.bias.row)
    each = [seconds * len(row) / max(1, n) for row in rows]
    assert leases[0::2] == pytest.approx([SLOWER * t + GRACE for t in each])
    assert leases[1::2] == [THINKING] * len(pieces)


def test_results_do_not_depend_on_chunks(tmp_path):
    sums = []
    for k, seconds in enumerate((1e-3, 0.9)):
        _, limited, journal = make(tmp_path / str(k), seconds)
        history = History()
        with journal:
            run(Reads(n=5), limited, journal, history)
        sums.append(history.latest(Seen).current)
    assert sums[0] == sums[1]


def test_a_wrong_kernel_is_refused_before_anything_is_journalled(tmp_path):
    _, limited, journal = make(tmp_path)

    class Wrong(Reads):
        def run(self, die, history):
            yield from ()
            die.sense(Sense(Bias(np.zeros((1, 2)), np.zeros((1, 3)), kernel=np.array([7])), np.arange(3)))

    with journal:
        outcome = run(Wrong(), limited, journal, History())
        assert (outcome.state, outcome.exit_code) == (State.ERROR, 1)
        assert "kernel 7" in outcome.reason
        assert not list(journal.operations())
