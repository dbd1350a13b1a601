"""One small campaign on an ideal die ends in the same states and predictions whatever bench it is carried out on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.bench import Bench
from labctl.core.exit_codes import Status
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.execution import die_job
from protocols.network import Network
from protocols.readout import InferenceSettings
from protocols.stage_inputs import Networks
from protocols.survey import Survey
from protocols.weights import Placement
from protocols.write_verify import WriteVerify
from sim_backend.description import DieDescription
from tests.e2e import small_dies
from tests.e2e.small_dies import BENCH, PADS, WRITE, Campaign, M, N

SAME = ("solution", "kernel", "row", "col", "attempt", "target", "voltage", "verified")
SLOW: dict[str, Any] = WRITE | {"width": 1e-2}
"""Pulses that the slowest source of all times by itself."""


def over_ports() -> dict[str, Any]:
    """Return three 2450s over a B2200A."""
    sources = {f"smu{k}": {"driver": "keithley2450", "resource": str(k)} for k in (1, 2, 3)}
    wiring = {
        "channels": {f"{name}.out": f"in{k}" for k, name in enumerate(sources, 1)},
        "ground": "in14",
        "pads": {pad: f"out{1 + 3 * j}" for j, pad in enumerate(PADS)},
    }
    matrix = {"driver": "keysightb2200", "resource": "matrix"}
    return BENCH | {"instruments": sources | {"matrix": matrix}, "wiring": BENCH["wiring"] | wiring}


def over_cards() -> dict[str, Any]:
    """Return a 2602B over a 7002."""
    wiring = {
        "channels": {"smu.smua": "row1", "smu.smub": "row2"},
        "ground": "row4",
        "pads": {pad: f"{1 + j // 4}-{7 + j % 4:02d}" for j, pad in enumerate(PADS)},
    }
    instruments = {
        "smu": {"driver": "keithley2600b", "resource": "1"},
        "matrix": {"driver": "keithley7001", "model": "7002", "resource": "2"},
    }
    return BENCH | {"instruments": instruments, "wiring": BENCH["wiring"] | wiring}


def over_units() -> dict[str, Any]:
    """Return the units of a B1500A over a 7002."""
    bench = over_cards()
    channels = {"smu.smu1": "row1", "smu.smu2": "row2"}
    mainframe = {"driver": "keysightb1500", "resource": "1", "slots": [1, 2]}
    return bench | {
        "instruments": bench["instruments"] | {"smu": mainframe}, "wiring": bench["wiring"] | {"channels": channels}
    }  # fmt: skip


BENCHES = {
    "2600B and 707B": BENCH, "2450 and B2200A": over_ports(), "2602B and 7002": over_cards(),
    "B1500A and 7002": over_units(),
}  # fmt: skip


@pytest.fixture(autouse=True)
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")


def stages() -> tuple[Procedure, ...]:
    rng = np.random.default_rng(3)
    network = Network(
        placement=(Placement(), Placement()),
        write_verify=WriteVerify(**SLOW, repair_rounds=1),
        inference=InferenceSettings(scales=3),
        solutions=Networks((small_dies.solution(0, rng),)),
        data=small_dies.samples(rng),
    )
    return Survey(**SLOW), network


def ideal() -> tuple[Site, ...]:
    keys = {
        "name": "ideal",
        "geometry": {"kernels": 1, "n_rows": M, "n_cols": N},
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    }
    return (Site("D0", DieDescription.model_validate(keys, context={"file": True}), 5, (0, 0)),)


def ended(folder: Path, bench: dict[str, Any] | None) -> small_dies.Ended:
    """Return how the die ended, on the twin of a bench or simulated."""
    made = None if bench is None else Bench.model_validate(bench, context={"file": True})
    campaign = Campaign(ideal(), stages(), made)
    (subject,) = campaign.subjects
    with campaign.body() as body:
        result = campaign.carry_out(campaign.job(folder, subject), body)
        if made is not None:
            audit = body.twin.ledger  # type: ignore[attr-defined]
            assert (audit.hot_switches, audit.fights) == (0, 0)
            assert audit.peak_cell_voltage <= small_dies.LIMITS.v_towards_p
    assert (result.outcome.status, result.outcome.reason) == (Status.SUCCESS, "")
    return small_dies.Ended.of(folder / "dies" / subject.name, result)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> small_dies.Ended:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")
        return ended(tmp_path_factory.mktemp("simulated"), None)


@pytest.mark.parametrize("bench", BENCHES)
def test_states_attempts_and_predictions_are_those_of_the_simulated_die(simulated, tmp_path, bench):
    there = ended(tmp_path, BENCHES[bench])
    assert np.array_equal(simulated.truth["state"], there.truth["state"])
    assert np.array_equal(simulated.counts, there.counts)
    assert simulated.bin == there.bin
    one, two = simulated.tables["attempt"], there.tables["attempt"]
    assert (one["attempt"] > 1).any(), "ladders were climbed"
    assert all(np.array_equal(one[name], two[name]) for name in SAME)
    one, two = simulated.tables["readback"], there.tables["readback"]
    assert all(np.array_equal(one[name], two[name]) for name in ("row", "col", "state", "flag"))
    assert np.abs(one["conductance"] / two["conductance"] - 1).max() < 1e-3
    one, two = simulated.tables["prediction"], there.tables["prediction"]
    predictions = [name for name in one if name.startswith(("untuned", "tuned"))]
    assert predictions
    assert all(np.array_equal(one[name], two[name]) for name in predictions)
