"""Curves over device size: what campaign they ask for, and what intervals over dies they have."""

import json
from pathlib import Path

import numpy as np
import pytest

from labctl.core.errors import BenchError
from labctl.experiments import pictures, tables, wine_sizes
from labctl.experiments.wine_sizes import FIGURES, Size, Sizes, SizeSettings
from labctl.station import composition
from protocols.write_verify import WriteMode

CAMPAIGN = Path(__file__).parents[4] / "examples" / "wine-passive.yaml"


@pytest.fixture
def sizes() -> Sizes:
    """Two sizes of five dies with three networks."""
    values = {name: 0.9 + 0.01 * np.arange(15.0).reshape(5, 3) / 2 for name in FIGURES}
    worse = {name: v - 0.1 for name, v in values.items()}
    return Sizes(SizeSettings(5), (Size(55e-9, worse), Size(80e-9, values)), {"campaign": 3.0})


@pytest.mark.parametrize("kind", wine_sizes.KINDS)
def test_every_size_has_its_dies_and_every_cell_one_pulse_first(kind: str) -> None:
    spec = composition.read(CAMPAIGN, wine_sizes.overrides(SizeSettings(3, kind, seed=7), CAMPAIGN))
    assert [s.name for s in spec.subjects[:4]] == ["D55-0", "D55-1", "D55-2", "D65-0"]
    assert len(spec.subjects) == 12
    diameters = {round(s.description.junction.diameter * 1e9) for s in spec.subjects}
    assert diameters == {55, 65, 80, 100}
    simulation = spec.subjects[0].description.simulation
    leads, directions = simulation.lines.r_source, simulation.switching.v_c0_ap - simulation.switching.v_c0_p
    assert (leads, round(directions, 9)) == {"plain": (0.0, 0.0), "bench-like": (25.0, 0.1)}[kind]
    write = spec.stages[1].write_verify
    assert (write.mode, write.repair_rounds) == (WriteMode.OPEN_LOOP, 3)
    assert spec.seed == 7


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(BenchError, match="--die-kind real: expected plain or bench-like"):
        wine_sizes.check(SizeSettings(kind="real"))
    with pytest.raises(BenchError, match="--dies 0: expected one die"):
        wine_sizes.check(SizeSettings(0))


def test_intervals_are_over_dies(sizes: Sizes) -> None:
    mean, low, high = sizes.sizes[1].figure("tuned_train")
    assert mean == pytest.approx(0.935)
    # five dies 1.5 points apart, whose mean has a standard error of 0.95
    assert (mean - low, high - mean) == pytest.approx((0.018, 0.018), abs=0.004)
    assert sizes.sizes[1].figure("tuned_train") == (mean, low, high)
    alone = Size(80e-9, {name: np.full((1, 3), 0.5) for name in FIGURES})
    assert alone.figure("blind") == (0.5, 0.5, 0.5)


def test_table_sheet_and_picture(sizes: Sizes, tmp_path: Path) -> None:
    rows = tables.size_rows(sizes)
    assert [row[:3] for row in rows] == [("55 nm", "5", "3"), ("80 nm", "5", "3")]
    assert rows[1][3].startswith("93.50 (9")
    assert len(rows[0]) == len(tables.SIZE_COLUMNS)
    sheet = tables.size_csv(sizes).splitlines()
    assert sheet[0] == "diameter,die,network," + ",".join(FIGURES)
    assert len(sheet) == 1 + 2 * 5 * 3
    plain = json.loads(json.dumps(sizes.to_json()))
    assert plain["sizes"][0]["by_die"]["blind"] == pytest.approx([0.805, 0.82, 0.835, 0.85, 0.865])
    drawn = pictures.draw_sizes(sizes, tmp_path)
    assert [p.name for p in drawn] == ["sizes.png", "sizes.svg"]
    before = [p.read_bytes() for p in drawn]
    assert [p.read_bytes() for p in pictures.draw_sizes(sizes, tmp_path)] == before
