"""From every row of a die's journal, as if its writer had been killed then, resume ends as the uninterrupted run did.

Every 13th row of the simulated dies' journals and every 67th of the bench's is tried; all of them if the environment
says LABCTL_EVERY_PREFIX=1. Commits at which a process is killed are tried in the same way.
"""

import itertools
import os

import numpy as np
import pytest

from labctl.core.die_state import State
from labctl.core.exit_codes import Status
from labctl.core.operations import Flag
from labctl.execution import die_job, recorded_die
from labctl.execution.stop import Stop
from labctl.storage.journal import Journal

EVERY = os.environ.get("LABCTL_EVERY_PREFIX") == "1"
LOST = {
    "attempt.conductance", "attempt.pulse_flag", "write.wer_to_p", "write.wer_to_p_interval", "write.wer_to_ap",
    "write.wer_to_ap_interval", "write.rung_pulses", "write.rung_failures", "write.limited_pulses",
    "write.stuck_pulses", "wer_p", "wer_ap",
    *(f"wer.{c}" for c in ("cells", "pulses", "failures", "wer", "wer_low", "wer_high")),
}  # fmt: skip
"""What a pulse whose result was lost on a bench may change: its own read, its force side, and statistics that leave
out pulses of which that is not known."""

WRITTEN = {
    "bin", "fidelity", "accuracy_train", "accuracy_test", "truth.state", "survey.defect", "readback.state",
    *(f"prediction.{tuning}_{part}" for tuning in ("untuned", "tuned") for part in ("train", "test")),
}  # fmt: skip
"""What nothing may change."""
PULSES = {"counts", *(f"attempt.{c}" for c in ("kernel", "row", "col", "attempt", "target", "voltage", "verified"))}
"""What only a pulse changes that counts and never happened."""


@pytest.fixture(autouse=True)
def unsealed(monkeypatch):
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")


def carried_out(campaign, folder, chunk):
    """Return how each die of an uninterrupted run ended."""
    with pytest.MonkeyPatch.context() as patch, campaign.body() as body:
        patch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")
        patch.setattr(recorded_die, "CHUNK", chunk)
        return {s.name: campaign.carry_out(campaign.job(folder, s), body) for s in campaign.subjects}


@pytest.fixture(
    scope="module", params=[pytest.param("simulated", marks=pytest.mark.slow), "chip", "chip_of_figures", "on_twin"]
)
def uninterrupted(request, small, tmp_path_factory):
    """A campaign that was not interrupted: what it is, how long its chunks are, where it is, how its dies ended."""
    campaign = getattr(small, request.param)()
    folder, chunk = (
        tmp_path_factory.mktemp(request.param),
        {"simulated": 0.01, "chip": 0.02, "chip_of_figures": 0.02, "on_twin": 0.5},
    )
    results = carried_out(campaign, folder, chunk[request.param])
    ended = {name: small.Ended.of(folder / "dies" / name, result) for name, result in results.items()}
    return campaign, chunk[request.param], folder, ended


def test_the_campaign_has_what_makes_resuming_hard(uninterrupted):
    campaign, _, _, ended = uninterrupted
    pulses = sum(e.tables["attempt"].rows for e in ended.values())
    failed = sum(int((~e.tables["attempt"]["verified"]).sum()) for e in ended.values())
    assert pulses > failed > 40
    defects = set(np.concatenate([e.tables["survey"]["defect"].ravel() for e in ended.values()]).tolist())
    assert len(defects) > 1
    if len(campaign.subjects) > 1:
        assert {e.bin for e in ended.values()} == {"good", "low-fidelity"}
        assert any(int((e.tables["attempt"]["pulse_flag"] & Flag.COMPLIANCE).sum()) > 10 for e in ended.values())
        budget = campaign.stages[0].budget
        for name in ("D1", "D2"):
            cells = [ended[name].tables["attempt"][axis] for axis in ("row", "col")]
            assert np.bincount(np.ravel_multi_index(cells, (3, 4))).max() == budget, name


def test_every_prefix_of_a_journal_ends_the_same(uninterrupted, small, tmp_path, monkeypatch):
    campaign, chunk, folder, ended = uninterrupted
    monkeypatch.setattr(recorded_die, "CHUNK", chunk)
    stride = 1 if EVERY else 13 if campaign.bench is None else 67
    tried = 0
    for subject in campaign.subjects:
        whole = ended[subject.name]
        for row in range(1, whole.rows + 1, stride):
            run = tmp_path / f"{subject.name}-{row}"
            what, kind = small.cut(folder / "dies" / subject.name, run / "dies" / subject.name, row)
            with campaign.body() as body:
                result = campaign.carry_out(campaign.job(run, subject), body)
            assert (result.outcome.status, result.outcome.reason) == (Status.SUCCESS, ""), (subject.name, row)
            again = small.Ended.of(run / "dies" / subject.name, result)
            differences = whole.differences(again)
            if campaign.bench is not None:
                differences.discard("contact")  # the contact check is made again, with noise of its own
                if (what, kind) == ("intent", "pulse"):
                    unknown = again.tables["attempt"]["pulse_flag"] == Flag.UNKNOWN
                    assert unknown.any(), (subject.name, row)
                    kept = ~unknown
                    for column in ("conductance", "pulse_flag"):
                        one, two = whole.tables["attempt"][column], again.tables["attempt"][column]
                        assert np.array_equal(one[kept], two[kept], equal_nan=True), (subject.name, row, column)
                    differences -= LOST
            assert not differences, (subject.name, row, what, kind)
            tried += 1
    print(f"{tried} prefixes of {sum(e.rows for e in ended.values())} rows")
    assert tried >= (sum(e.rows for e in ended.values()) if EVERY else 4)


class Killed(BaseException):
    """The process is gone."""


class Death:
    """Kills at one commit, before or after it is on the disk; a dead process writes nothing more."""

    def __init__(self, patch, at, before):
        self.count, self.dead = itertools.count(), False
        commit = Journal.commit

        def hooked(journal):
            if not journal._rows:
                return
            now = next(self.count) == at and not self.dead
            if not self.dead and not (now and before):
                commit(journal)
            if now or self.dead:
                self.dead = True
                raise Killed

        patch.setattr(Journal, "commit", hooked)


def killed(campaign, job, body, at, before):
    """Carry out a die and be killed at its commit number `at`; return whether it came to that."""
    with pytest.MonkeyPatch.context() as patch:
        death = Death(patch, at, before)
        try:
            campaign.carry_out(job, body)
        except Killed:
            assert death.dead
            return True
        return False


def commits(every):
    """Yield the numbers of the commits at which to be killed: one of `every`, or all."""
    return itertools.count() if EVERY else itertools.count(0, every)


def test_killed_at_any_commit_nothing_acknowledged_is_lost(uninterrupted, small, tmp_path, monkeypatch):
    campaign, chunk, _, ended = uninterrupted
    if campaign.bench is not None:
        pytest.skip("the same with a bench that stays: the next test")
    monkeypatch.setattr(recorded_die, "CHUNK", chunk)
    subject = campaign.subjects[-1]
    folder, tried = f"dies/{subject.name}", 0
    for at in commits(11):
        for before in (True, False):
            run = tmp_path / f"{at}-{before}"
            with campaign.body() as body:
                if not killed(campaign, campaign.job(run, subject), body, at, before):
                    assert tried > 5
                    return
            acknowledged = small.rows(run / folder)
            with campaign.body() as body:
                result = campaign.carry_out(campaign.job(run, subject), body)
            if result.again:  # killed before the journal's very first row: there is nothing to go on with
                assert (at, before, acknowledged) == (0, True, [])
                continue
            assert small.rows(run / folder)[: len(acknowledged)] == acknowledged
            assert not ended[subject.name].differences(small.Ended.of(run / folder, result)), (at, before)
            tried += 1


def test_a_bench_that_stays_goes_on_from_what_its_cells_read(uninterrupted, small, tmp_path, monkeypatch):
    campaign, chunk, _, ended = uninterrupted
    if campaign.bench is None:
        pytest.skip("a simulated die dies with its process")
    monkeypatch.setattr(recorded_die, "CHUNK", chunk)
    subject, recovered = campaign.subjects[0], 0
    folder, whole = f"dies/{subject.name}", ended[subject.name]
    for at in commits(13):
        for before in (True, False):
            run = tmp_path / f"{at}-{before}"
            with campaign.kept() as bench:
                if not killed(campaign, campaign.job(run, subject), bench, at, before):
                    assert recovered > 1
                    return
                acknowledged = small.rows(run / folder)
                result = campaign.carry_out(campaign.job(run, subject), bench)
            if result.again:
                assert (at, before, acknowledged) == (0, True, [])
                continue
            assert small.rows(run / folder)[: len(acknowledged)] == acknowledged
            again = small.Ended.of(run / folder, result)
            assert (result.outcome.status, again.bin) == (Status.SUCCESS, whole.bin), (at, before)
            differences = whole.differences(again) - {"contact"}
            with Journal.open(run / folder) as journal:
                lost = [op for op in journal.operations() if op.end is None]
                answers = [op for op in journal.operations() if "answers" in op.intent]
            assert [op.seq for op in lost] == [op.intent["answers"] for op in answers]
            recovered += len(answers)
            if not (lost and lost[0].kind == "pulse" and not before):
                assert not differences & PULSES, (at, before)
            # else it never happened and counts as done: rungs and luck differ, what is written does not
            assert not differences & WRITTEN, (at, before)


def test_told_to_stop_again_and_again_a_die_ends_the_same(uninterrupted, small, tmp_path, monkeypatch):
    campaign, chunk, _, ended = uninterrupted
    monkeypatch.setattr(recorded_die, "CHUNK", chunk)
    subject, sessions = campaign.subjects[0], 0
    for points in itertools.count(7, 9):
        asked = itertools.count()
        stop = Stop(lambda asked=asked, points=points: "stopped" if next(asked) == points else None)
        with campaign.body() as body:
            job = campaign.job(tmp_path, subject)
            result = campaign.carry_out(job, body, stop)
        sessions += 1
        if result.state is State.DONE:
            break
        assert (result.state, result.bin, result.outcome.exit_code) == (State.INTERRUPTED, "interrupted", 4)
    assert sessions > 2
    again = small.Ended.of(tmp_path / "dies" / subject.name, result)
    assert not ended[subject.name].differences(again) - {"contact"}
    with Journal.open(tmp_path / "dies" / subject.name) as journal:
        kinds = [(e.kind, e.stage) for e in journal.events()]
    assert kinds.count(("resumed", "")) == sessions - 1
    for stage in campaign.stages:
        assert kinds.count(("stage_started", stage.name)) == 1
