"""The temperature that a campaign says its dies have."""

from pathlib import Path

import pytest

from labctl.core.errors import BenchError
from labctl.station import composition

EXAMPLES = Path(__file__).parents[4] / "examples"
LIMITS = "{v_towards_p: 1 V, v_towards_ap: 1 V, width: 1 ms, compliance: 1 mA, v_count: 0.3 V, pulses_per_cell: 9}"


def campaign(folder: Path, temperature: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(
        f"name: c\n{temperature}\ndies: [{{name: D, file: {EXAMPLES / 'dies/passive-15x15.yaml'}}}]\n"
        f"limits: {LIMITS}\nstages: [{{survey: {{}}}}]\n",
        encoding="utf-8",
    )
    return path


def test_it_is_part_of_the_run(tmp_path: Path) -> None:
    assert composition.read(campaign(tmp_path, "temperature: 300 K")).to_json()["temperature"] == 300.0
    assert composition.read(campaign(tmp_path, "")).to_json()["temperature"] is None


def test_another_one_than_simulated_dies_have_is_refused(tmp_path: Path) -> None:
    path = campaign(tmp_path, "temperature: 358 K")
    with pytest.raises(BenchError, match=r"c\.yaml:2: temperature: found 358 K, and die D is simulated at 300 K"):
        composition.read(path)


@pytest.mark.parametrize("value", ["85", "-3 K", "0 K", "2000 K", "85 C"])
def test_what_is_no_temperature_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(BenchError, match=r"c\.yaml:2: temperature"):
        composition.read(campaign(tmp_path, f"temperature: {value}"))
