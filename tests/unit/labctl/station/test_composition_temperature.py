"""The temperature that a campaign says its dies have."""

from pathlib import Path

import pytest

from labctl.cli.plan import beside
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


def wafer_and_bench(folder: Path, campaign: str, station: str) -> tuple[Path, Path]:
    """Return a campaign on a wafer and a bench whose station has more options."""
    text = (EXAMPLES / "survey-wafer.yaml").read_text(encoding="utf-8")
    text = text.replace("seed: 12", f"seed: 12\n{campaign}")
    for kind in ("wafers/wafer-12.yaml", "dies/passive-15x15.yaml"):
        text = text.replace(kind, str(EXAMPLES / kind))
    bench = (EXAMPLES / "bench-two-arrays.yaml").read_text(encoding="utf-8")
    bench = bench.replace("    overtravel_ceiling:", f"    {station}\n    overtravel_ceiling:", 1)
    for name, content in (("c.yaml", text), ("b.yaml", bench)):
        (folder / name).write_text(content, encoding="utf-8")
    return folder / "c.yaml", folder / "b.yaml"


def test_one_that_the_chuck_of_the_bench_is_not_set_to_is_refused_and_so_is_none(tmp_path: Path) -> None:
    path, bench = wafer_and_bench(tmp_path, "temperature: 300 K", "hottest: 298 K")
    with pytest.raises(BenchError, match=r"c\.yaml:\d+: temperature: prober: the campaign says 300 K, .* to 298 K"):
        composition.read(path, bench=bench, sim="bytes")
    path, bench = wafer_and_bench(tmp_path, "temperature: 300 K", "hottest: 400 K")
    station = composition.read(path, bench=bench, sim="bytes").station
    assert station is not None
    assert (station.temperature, station.slot) == (300.0, None)


def test_a_slot_is_the_station_s_and_needs_a_prober(tmp_path: Path) -> None:
    path, bench = wafer_and_bench(tmp_path, "", "cassette: cas1")
    text = path.read_text(encoding="utf-8").replace("wafer:\n", "wafer:\n  slot: 7\n")
    path.write_text(text, encoding="utf-8")
    spec = composition.read(path, bench=bench, sim="bytes")
    assert spec.station is not None
    assert spec.station.slot == 7
    assert [part.text for part in beside(spec, 12)] == [
        "a wafer is loaded and aligned, not counted, 600 s at most each"
    ]
    assert beside(composition.read(path), 12) == []
    with pytest.raises(BenchError, match=r"c\.yaml:\d+: wafer\.slot: found a slot, and the bench has no prober"):
        composition.read(path, bench=EXAMPLES / "bench-2400-two-needles.yaml", sim="bytes")
