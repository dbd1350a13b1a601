"""A campaign whose cells are written inside the sources: the same as by the host on ideal dies, and gone on with."""

from pathlib import Path

import numpy as np
import pytest

from labctl.core.exit_codes import Status
from labctl.core.operations import Flag
from labctl.core.site import Site
from labctl.execution import die_job
from labctl.storage.journal import Journal
from labctl.storage.stress import DieInfo, stress_of_journal
from sim_backend.description import DieDescription
from tests.e2e import small_dies

WAYS: dict[str, tuple[str, dict[str, bool]]] = {
    "host": ("host", {}),
    "linked": ("instrument", {"linked": True}),
    "apart": ("instrument", {}),
    "joined": ("instrument", {"linked": True, "joined": True}),
    "joined by the host": ("host", {"linked": True, "joined": True}),
}
CELL = ("solution", "round", "kernel", "row", "col", "attempt")
SAME = ("target", "trial", "voltage", "flag", "pulse_flag", "verified")


@pytest.fixture(autouse=True)
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")


def ideal() -> tuple[Site, ...]:
    keys = {
        "name": "ideal",
        "geometry": {"kernels": 1, "n_rows": small_dies.M, "n_cols": small_dies.N},
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    }
    return (Site("D0", DieDescription.model_validate(keys, context={"file": True}), 5, (0, 0)),)


def ended(campaign: small_dies.Campaign, folder: Path) -> small_dies.Ended:
    """Return how the one die of a campaign ended that nobody interrupted."""
    (subject,) = campaign.subjects
    with campaign.body() as body:
        result = campaign.carry_out(campaign.job(folder, subject), body)
        audit = body.twin.ledger  # type: ignore[attr-defined]
        assert (audit.hot_switches, audit.fights, audit.count("subordinate commanded")) == (0, 0, 0)
    assert (result.outcome.status, result.outcome.reason) == (Status.SUCCESS, "")
    return small_dies.Ended.of(folder / "dies" / subject.name, result)


def test_an_ideal_die_ends_in_the_same_states_attempts_and_predictions_by_the_host_and_inside(tmp_path):
    runs = {
        name: ended(small_dies.on_twin_of(ideal(), programming, **bus), tmp_path / name)
        for name, (programming, bus) in WAYS.items()
    }
    host = runs.pop("host")
    assert (host.tables["attempt"]["attempt"] > 1).any(), "ladders were climbed"

    def by_cell(table):
        order = np.lexsort([table[name] for name in reversed(CELL)])
        return {name: table[name][order] for name in (*CELL, *SAME)}

    for inside in runs.values():
        one, two = by_cell(host.tables["attempt"]), by_cell(inside.tables["attempt"])
        assert all(np.array_equal(one[name], two[name]) for name in one)
        assert np.array_equal(host.truth["state"], inside.truth["state"])
        assert np.array_equal(host.counts, inside.counts)
        predictions = [name for name in host.tables["prediction"] if name.startswith(("untuned", "tuned"))]
        assert predictions
        for name in predictions:
            assert np.array_equal(host.tables["prediction"][name], inside.tables["prediction"][name])
        assert host.bin == inside.bin


def test_from_its_prefixes_a_campaign_inside_the_sources_goes_on_to_the_same_end(tmp_path):
    campaign = small_dies.on_twin_of(small_dies.simulated().subjects[2:], "instrument", linked=True)
    whole = ended(campaign, tmp_path / "whole")
    (subject,) = campaign.subjects
    journal = tmp_path / "whole" / "dies" / subject.name
    numbered = [(row[0], row[1], row[4]) for row in small_dies.rows(journal)]
    lost = [number for number, what, kind in numbered if (what, kind) == ("intent", "program")]
    others = [number for number, what, kind in numbered if (what, kind) != ("intent", "program")]
    assert len(lost) >= 3
    for number in [lost[0], lost[-1], others[len(others) // 2]]:
        run = tmp_path / f"from {number}"
        what, kind = small_dies.cut(journal, run / "dies" / subject.name, number)
        with campaign.body() as body:
            result = campaign.carry_out(campaign.job(run, subject), body)
        assert (result.outcome.status, result.outcome.reason) == (Status.SUCCESS, ""), number
        again = small_dies.Ended.of(run / "dies" / subject.name, result)
        unknown = again.tables["attempt"]["pulse_flag"] == Flag.UNKNOWN
        if number in lost:
            assert unknown.any(), (number, what, kind)
            assert (again.counts >= whole.counts).all(), "what nobody knows counts as given"
        else:
            assert not whole.differences(again) - {"contact"}, (number, what, kind)
        with Journal.open(run / "dies" / subject.name) as journal_again:
            info = DieInfo.of(journal_again.meta)
            stress = stress_of_journal(journal_again, info, 0, journal_again.last.seq)
        assert np.array_equal(stress.counts, again.counts), "the ledger counts as the limits do"
