"""A campaign whose cells are written by a board itself: the same as by the host on ideal chips, and gone on with."""

import numpy as np
import pytest

from labctl.core.exit_codes import Status
from labctl.core.operations import Flag
from labctl.execution import die_job
from tests.e2e import small_dies

CELL = ("solution", "round", "kernel", "row", "col", "attempt")
SAME = ("target", "trial", "voltage", "flag", "pulse_flag", "verified")


@pytest.fixture(autouse=True)
def unsealed(monkeypatch):
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")


def carried_out(campaign, run):
    """Return how the chip of a campaign ended, and the messages and events of its board."""
    (subject,) = campaign.subjects
    with campaign.body() as body:
        result = campaign.carry_out(campaign.job(run, subject), body)
        messages = body.twin.ledger.messages
    assert (result.outcome.status, result.outcome.reason) == (Status.SUCCESS, "")
    return small_dies.Ended.of(run / "dies" / subject.name, result), messages


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")
        ways = ("host", "instrument")
        return folder, {way: carried_out(small_dies.on_board(way, ideal=True), folder / way) for way in ways}


def by_cell(table):
    order = np.lexsort([table[name] for name in reversed(CELL)])
    return {name: table[name][order] for name in (*CELL, *SAME)}


def test_an_ideal_chip_ends_in_the_same_states_attempts_and_predictions_by_the_host_and_by_the_board(runs):
    (host, _), (inside, _) = runs[1].values()
    assert (host.tables["attempt"]["attempt"] > 1).any(), "ladders were climbed"
    one, two = by_cell(host.tables["attempt"]), by_cell(inside.tables["attempt"])
    for name in one:
        assert np.array_equal(one[name], two[name]), name
    assert np.array_equal(host.truth["state"], inside.truth["state"])
    assert np.array_equal(host.counts, inside.counts)
    for name in host.tables["prediction"]:
        if name not in ("seq", "utc"):
            assert np.array_equal(host.tables["prediction"][name], inside.tables["prediction"][name]), name
    assert host.bin == inside.bin


def test_a_campaign_on_a_board_goes_on_from_its_prefixes_to_the_undisturbed_states(runs, tmp_path):
    folder, ended = runs
    campaign, (whole, _) = small_dies.on_board("instrument", ideal=True), ended["instrument"]
    (subject,) = campaign.subjects
    journal = folder / "instrument" / "dies" / subject.name
    numbered = [(row[0], row[1], row[4]) for row in small_dies.rows(journal)]
    lost = [number for number, what, kind in numbered if (what, kind) == ("intent", "program")]
    others = [number for number, what, kind in numbered if (what, kind) != ("intent", "program")]
    assert len(lost) >= 3
    for number in [*lost, others[len(others) // 3], others[-3]]:
        run = tmp_path / f"from {number}"
        small_dies.cut(journal, run / "dies" / subject.name, number)
        again, _ = carried_out(campaign, run)
        assert np.array_equal(whole.truth["state"], again.truth["state"]), number
        unknown = again.tables["attempt"]["pulse_flag"] == Flag.UNKNOWN
        assert unknown.any() == (number in lost), number
        assert (again.counts >= whole.counts).all(), "what nobody knows counts as given"
        if number not in lost:
            assert not whole.differences(again) - {"contact"}, number
