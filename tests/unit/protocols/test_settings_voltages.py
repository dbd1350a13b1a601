"""The voltages of the shipped campaigns are right for the default junction by either switching law."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl.core.units import parse_quantity
from protocols.settings import WriteSettings
from protocols.write_verify import WriteVerify
from sim_backend.description import Switching

EXAMPLES = Path(__file__).parents[3] / "examples"
CAMPAIGNS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(EXAMPLES.glob("*.yaml"))}
CAMPAIGNS = {name: content for name, content in CAMPAIGNS.items() if "stages" in content}
SIGMA = 0.05
"""Spread of V_c0 by default."""


def writes(campaign: dict[str, Any]) -> list[WriteSettings]:
    """Return how the stages of a campaign write; a survey writes by default."""
    given = [settings.get("write_verify", {}) for stage in campaign["stages"] for settings in stage.values()]
    return [WriteVerify.model_validate(write, context={"file": True}) for write in given]


def test_campaigns_are_found() -> None:
    assert {"wine-passive.yaml", "overnight-36-dies.yaml", "overnight-bench.yaml", "survey-wafer.yaml"} <= set(
        CAMPAIGNS
    )
    assert all(writes(campaign) for campaign in CAMPAIGNS.values())


@pytest.mark.parametrize("name", CAMPAIGNS)
@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_write_voltages_and_v_count_hold_with_both_exponents(name: str, exponent: float) -> None:
    switching = Switching(exponent=exponent)
    limits = {key: parse_quantity(value, "V") for key, value in CAMPAIGNS[name]["limits"].items() if key[:2] == "v_"}

    def switched(volts: float, write: WriteSettings, sigmas: float = 0.0, time: float | None = None) -> float:
        v_c0 = switching.v_c0_p * (1 + SIGMA * sigmas)
        return float(switching.law.probability(volts / v_c0, switching.delta, time or write.width))

    for write in writes(CAMPAIGNS[name]):
        # the first rung writes the median cell, and half of the cells at 1.9 sigma
        assert switched(write.v_start, write) > 0.999
        assert switched(write.v_start, write, 1.9) > 0.5
        # the last one a cell at 4 sigma behind 20 % of drop along the lines
        assert switched(0.8 * write.v_max, write, 4) > 0.9
        assert write.v_max < min(limits["v_towards_p"], limits["v_towards_ap"])
        # half-selected cells do not count as pulsed, cells that are written do, and what does not count hardly writes
        assert write.v_max / 2 < limits["v_count"] < write.v_start
        assert switched(limits["v_count"], write) < 0.11
        # half of the first rung leaves weak cells alone, reads do in any number of them
        assert switched(write.v_start / 2, write, -3) < 5e-6
        assert switched(write.v_read, write, -3, time=1.2e-3) < 1e-10


def test_what_the_settings_say_of_half_selected_cells() -> None:
    """The figures of the docstring of `WriteSettings`, for both exponents."""
    for exponent, expected in ((1.0, (7e-8, 8e-10, 2e-2)), (2.0, (4e-6, 7e-8, 7e-2))):
        switching = Switching(exponent=exponent)
        pairs = ((0.21, 0.85), (0.21, 1.0), (0.30, 0.85))
        for (volts, part), p in zip(pairs, expected, strict=True):
            drive = volts / (switching.v_c0_p * part)
            assert float(f"{switching.law.probability(drive, 60.0, 1e-3):.0e}") == p
