"""Results come out in the order of their dies, whatever becomes of sealing one of them."""

import threading
from types import SimpleNamespace

import pytest

from labctl.batch import sealing_queue
from labctl.batch.executors import Lost
from labctl.batch.sealing_queue import SealingQueue
from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.exit_codes import ExitCode, Status
from labctl.core.outcome import Outcome
from labctl.execution import die_job
from labctl.execution.die_job import SEALING, DieResult
from tests.waiting import PATIENCE


def measured(die):
    return DieResult(die, "measured", Outcome(Status.SUCCESS), [], unsealed=True)


def job(die):
    return SimpleNamespace(die=die, folder=None, name=die)


class Sealing:
    """Seals a die when it is let."""

    def __init__(self):
        self.let, self.killed, self.error = threading.Event(), [], None

    def __call__(self, run, die):
        assert self.let.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return f"sha of {die}"

    def kill(self, run, die):
        self.killed.append(die)


@pytest.fixture
def sealing(monkeypatch):
    one = Sealing()
    monkeypatch.setattr(die_job, "seal_in_subprocess", one)
    monkeypatch.setattr(sealing_queue, "kill_sealing", one.kill)
    yield one
    one.let.set()


def test_a_result_waits_for_the_dies_before_it(sealing):
    queue, lost = SealingQueue(lambda: 0.0), Lost("B", "its worker died")
    queue.seal(job("A"), measured("A"))
    queue.add(lost)
    assert queue.take() == []
    sealing.let.set()
    assert queue.wait(PATIENCE)
    first, second = queue.take()
    assert (first.sealed, first.unsealed, first.state, second) == ("sha of A", False, State.DONE, lost)
    assert queue.take() == []
    assert not queue.wait(0.0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageError("the disk is full"), ExitCode.STORAGE),
        (ZeroDivisionError("a bug"), ExitCode.BUG),
        (MemoryError("an array of 4 GB"), ExitCode.BUG),
    ],
)
def test_a_die_that_cannot_be_sealed_is_left_to_resume_in_its_try_whatever_the_error_is(sealing, error, code):
    queue, sealing.error = SealingQueue(lambda: 0.0), error
    sealing.let.set()
    queue.seal(job("A"), measured("A"))
    assert queue.wait(PATIENCE)
    (result,) = queue.take()
    assert (result.state, result.outcome.exit_code) == (State.INTERRUPTED, code)
    assert (result.sealed, result.unsealed) == ("", False)
    assert str(error.args[0]) in result.outcome.reason


def test_sealing_that_does_not_end_is_killed_and_its_die_left_to_resume(sealing):
    now = [0.0]
    queue = SealingQueue(lambda: now[0])
    queue.seal(job("A"), measured("A"))
    assert queue.take() == []
    now[0] = SEALING
    (result,) = queue.take()
    assert (result.state, result.outcome.exit_code, sealing.killed) == (State.INTERRUPTED, ExitCode.STORAGE, ["A"])
    assert result.outcome.reason == "die A was not sealed within 1800 s; its journal has everything"
    sealing.let.set()
    assert queue.take() == []


def test_the_time_of_a_die_begins_when_the_one_before_it_no_longer_holds_the_process_that_seals(sealing):
    now = [0.0]
    queue = SealingQueue(lambda: now[0])
    queue.seal(job("A"), measured("A"))
    now[0] = 10.0
    queue.seal(job("B"), measured("B"))
    now[0] = SEALING
    assert [result.die for result in queue.take()] == ["A"]
    now[0] = SEALING + 10.0
    assert queue.take() == []
    now[0] = 2 * SEALING
    assert [result.die for result in queue.take()] == ["B"]
    assert sealing.killed == ["A", "B"]
