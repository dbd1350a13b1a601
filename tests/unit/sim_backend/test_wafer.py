from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from labctl.core.errors import BenchError
from sim_backend.description import DieDescription
from sim_backend.make import make_die
from sim_backend.wafer import Variation, Wafer

EXAMPLES = Path(__file__).parents[3] / "examples"


def load(name: str, model: Any) -> Any:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    return model.model_validate(yaml.safe_load(text), context={"file": True})


@pytest.fixture
def wafer() -> Wafer:
    wafer_36: Wafer = load("wafers/wafer-36.yaml", Wafer)
    return wafer_36


@pytest.fixture
def kind() -> DieDescription:
    description: DieDescription = load("dies/chip-32x25x25.yaml", DieDescription)
    return description


def small(**defects: Any) -> DieDescription:
    file = {
        "name": "small",
        "geometry": {"kind": "1T1R", "kernels": 2, "n_rows": 5, "n_cols": 4},
        "junction": {"diameter": "80 nm"},
        "simulation": {"defects": defects},
    }
    return DieDescription.model_validate(file, context={"file": True})


def test_the_example_has_36_dies(wafer: Wafer) -> None:
    assert len(wafer.places) == len(set(wafer.names)) == 36
    assert wafer.names[0] == "W01-x2y0"
    assert wafer.place("W01-x5y4") == (5, 4)
    with pytest.raises(BenchError, match="die W01-x0y0 is not on wafer W01"):
        wafer.place("W01-x0y0")


def test_the_example_spells_out_the_defaults(wafer: Wafer, kind: DieDescription) -> None:
    bare = Wafer(name="W01", map=wafer.map)
    assert bare.vary == wafer.vary
    file = {"name": kind.name, "geometry": kind.geometry.model_dump(), "junction": {"diameter": 80e-9}}
    default = DieDescription.model_validate(file).model_dump()
    assert default == kind.model_dump()


def test_positions_reach_from_the_centre_to_distance_one(wafer: Wafer) -> None:
    at = np.array([wafer.position(name) for name in wafer.names])
    assert np.hypot(*at.T).max() == pytest.approx(1.0)
    assert at.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    left, right = wafer.position("W01-x0y2"), wafer.position("W01-x7y2")
    assert left[0] == -right[0] < 0
    upper, lower = wafer.position("W01-x3y0"), wafer.position("W01-x3y5")
    assert upper[1] == -lower[1] < 0


def test_dies_need_not_be_square() -> None:
    wafer = Wafer(name="W", map=("XXX", "XXX"), pitch_x=2.0, pitch_y=6.0)
    x, y = wafer.position("W-x2y1")
    assert x / y == pytest.approx(2 * 2 / 6)
    assert np.hypot(x, y) == pytest.approx(1.0)
    assert Wafer(name="W", map=("X",)).position("W-x0y0") == (0.0, 0.0)


def test_any_die_is_rebuilt_alone_to_the_bit(wafer: Wafer) -> None:
    all_of_them = [make_die(wafer.die(n, small(), seed=7), seed=7, name=n).truth() for n in wafer.names]
    alone = make_die(wafer.die(wafer.names[17], small(), seed=7), seed=7, name=wafer.names[17]).truth()
    for name, value in alone.items():
        assert np.array_equal(value, all_of_them[17][name])
    assert len({float(t["g_p"].sum()) for t in all_of_them}) == 36
    other_seed = wafer.die(wafer.names[17], small(), seed=8)
    assert other_seed != wafer.die(wafer.names[17], small(), seed=7)


def test_what_is_nominal_does_not_tell_what_a_die_is(wafer: Wafer, kind: DieDescription) -> None:
    die = wafer.die(wafer.names[3], kind, seed=1)
    assert die.simulation.medians.ra != 1.0
    assert die.nominal == kind.nominal
    assert die.junction == kind.junction


def test_medians_reach_the_cells() -> None:
    file = small().model_dump()
    file["simulation"]["medians"] = {"ra": 1.5, "tmr": 0.5, "v_c0": 1.2}
    plain = make_die(small(), seed=1, name="x").truth()
    moved = make_die(DieDescription.model_validate(file), seed=1, name="x").truth()
    assert moved["g_p"] * 1.5 == pytest.approx(plain["g_p"])
    assert moved["v_c0_p"] == pytest.approx(1.2 * plain["v_c0_p"])
    assert moved["v_c0_ap"] == pytest.approx(1.2 * plain["v_c0_ap"])
    assert moved["tmr0"] == pytest.approx(0.5 * plain["tmr0"])


def test_random_part_and_trend_are_those_of_the_file() -> None:
    names = Wafer(name="W", map=("X" * 40,) * 40)
    drawn = {"sigma": 0.1}
    wafer = names.model_copy(update={"vary": names.vary.model_validate({"ra": drawn, "tmr": drawn, "v_c0": drawn})})
    dies = [wafer.die(n, small(), seed=2).simulation.medians for n in wafer.names[:800]]
    logs = np.log([[d.ra, d.tmr, d.v_c0] for d in dies])
    assert logs.mean(axis=0) == pytest.approx([0, 0, 0], abs=5 * 0.1 / np.sqrt(800))
    assert logs.std(axis=0) == pytest.approx([0.1] * 3, rel=5 / np.sqrt(1600))
    assert np.abs(np.corrcoef(logs.T) - np.eye(3)).max() < 5 / np.sqrt(800)


def test_the_trend_is_smooth_and_as_said() -> None:
    trend = Variation(radial=0.2, tilt_x=0.05, tilt_y=-0.1)
    assert trend.factor(0, 0, 0.0) == 1.0
    assert np.log(trend.factor(0.6, -0.8, 0.0)) == pytest.approx(0.2 + 0.03 + 0.08)
    assert np.log(trend.factor(0.5, 0.0, 3.0)) == pytest.approx(0.05 + 0.025)


def test_defects_grow_towards_the_edge(wafer: Wafer, kind: DieDescription) -> None:
    calm = wafer.model_copy(update={"vary": wafer.vary.model_copy(update={"defects": Variation(radial=0.5)})})
    shorts = [calm.die(n, kind, seed=1).simulation.defects.short for n in calm.names]
    distance = np.array([np.hypot(*calm.position(n)) for n in calm.names])
    assert shorts == pytest.approx(0.005 * np.exp(0.5 * distance**2))
    made = calm.die(calm.names[0], kind, seed=1).simulation.defects
    assert made.open / made.short == pytest.approx(0.2)
    assert (made.r_short_min, made.cluster_size) == (30.0, 4)


@pytest.mark.parametrize("rows", [[], [".", " . "], "XX"])
def test_a_wafer_has_dies(rows: Any) -> None:
    with pytest.raises(ValidationError):
        Wafer.model_validate({"name": "W", "map": rows})


def test_more_defects_than_cells_are_refused(wafer: Wafer) -> None:
    much = wafer.model_copy(update={"vary": wafer.vary.model_copy(update={"defects": Variation(radial=3.0)})})
    with pytest.raises(BenchError, match=r"W01-x2y0 would have .* times the defects of its kind"):
        much.die("W01-x2y0", small(short="50 %"), seed=1)


def test_ideal_dies_do_not_vary(wafer: Wafer) -> None:
    file = {"name": "i", "geometry": {"n_rows": 3, "n_cols": 4}, "junction": {"diameter": "80 nm"}}
    ideal = DieDescription.model_validate({**file, "simulation": {"ideal": True}})
    with pytest.raises(BenchError, match="ideal dies do not vary"):
        wafer.die("W01-x2y0", ideal, seed=1)
