"""The integrated chip's experiment: its dies, its defects, its figures, tables and pictures."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labctl import files
from labctl.cli import main
from labctl.core.errors import BenchError
from labctl.core.site import Site
from labctl.experiments import mtj_chip, pictures, tables
from labctl.experiments.mtj_chip import ChipSettings, Comparison, DieError, Result
from labctl.station import composition
from sim_backend.description import DieDescription

EXAMPLES = Path(__file__).parents[4] / "examples"
OVERNIGHT = EXAMPLES / "overnight-36-dies.yaml"


def result(method: str, density: float, errors: list[float], *, seed: int = 36, other: bool = False) -> Result:
    dies = [DieError(f"D{k}", e, e + 0.01, 0.03, 0.99, 100 + 9 * k, 90 + k, 50) for k, e in enumerate(errors)]
    return Result(method, density, seed, other, tuple(dies))


@pytest.fixture
def comparison() -> Comparison:
    """Three methods at two densities on three dies, and another wafer."""
    results = [
        result(m, d, [base * d, base * d + 0.02, base * d + 0.01])
        for d in (2.0, 1.0)
        for m, base in zip(mtj_chip.METHODS, (0.10, 0.05, 0.04), strict=True)
    ]
    results.append(result("statistics-aware", 1.0, [0.05, 0.06, 0.07], seed=9, other=True))
    settings = ChipSettings("digits", 3, (1.0, 2.0), other_wafer=9)
    rates = {1.0: {"good": 0.99, "short": 0.01}, 2.0: {"good": 0.98, "short": 0.02}}
    return Comparison(settings, tuple(results), rates, 20_000, (64, 50, 20), 2, {"baseline": 2.0})


def test_dies_are_taken_from_the_centre_of_the_wafer_outwards() -> None:
    subjects = composition.read(OVERNIGHT).subjects
    order = mtj_chip.centre_out(subjects)
    assert {s.at for s in order[:4]} == {(3, 2), (4, 2), (3, 3), (4, 3)}
    assert {s.name for s in order} == {s.name for s in subjects}
    # of those equally far, in the order of the map
    assert [s.name for s in order[:4]] == [s.name for s in subjects if s in order[:4]]


def test_a_map_that_is_not_square_has_its_centre_in_the_middle() -> None:
    some = composition.read(OVERNIGHT).subjects[0]
    row = [Site(f"D{x}", some.description, 1, (x, 7)) for x in range(5)]
    assert [s.name for s in mtj_chip.centre_out(row)] == ["D2", "D1", "D3", "D0", "D4"]


def test_more_dies_than_there_are_and_odd_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--dies 37: the campaign has 36"):
        mtj_chip._subset(composition.read(OVERNIGHT).subjects, 37)
    for densities in ((), (1.0, 1.0), (0.0, 1.0)):
        with pytest.raises(BenchError, match="different positive numbers"):
            mtj_chip.check(ChipSettings("digits", densities=densities))
    with pytest.raises(BenchError, match="expected digits or mnist"):
        mtj_chip.check(ChipSettings("wine"))


def test_a_density_multiplies_every_kind_of_defect_and_nothing_else() -> None:
    loaded = composition.load(OVERNIGHT)
    overrides = mtj_chip._defects(loaded, 2.0)
    changed = composition.read(OVERNIGHT, overrides).subjects[5].description
    before = composition.read(OVERNIGHT).subjects[5].description
    for kind in ("short", "open", "stuck_p", "stuck_ap", "low_tmr"):
        twice = 2 * getattr(before.simulation.defects, kind)
        assert getattr(changed.simulation.defects, kind) == pytest.approx(twice, rel=1e-12)
    assert changed.simulation.medians == before.simulation.medians
    assert mtj_chip._defects(loaded, 1.0) == {}
    # what the campaign itself changes of the die file is what is multiplied
    own = composition.load(OVERNIGHT, {"wafer.change.simulation.defects.short": "0.2 %"})
    assert mtj_chip._defects(own, 0.5)["wafer.change.simulation.defects.short"] == "0.1 %"
    base = files.load(own.value.wafer.die, DieDescription).simulation.defects.open
    assert mtj_chip._defects(own, 0.5)["wafer.change.simulation.defects.open"] == f"{50 * base:g} %"


def test_missing_mnist_and_missing_jax_are_said_before_anything_is_done(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mtj_chip, "libraries", lambda: (None, None))
    monkeypatch.delenv("LABCTL_DATA", raising=False)
    with pytest.raises(BenchError, match="MNIST does not ship"):
        mtj_chip.check(ChipSettings("mnist"))

    def missing() -> None:
        raise BenchError("training needs jax and optax")

    monkeypatch.setattr(mtj_chip, "libraries", missing)
    invoked = CliRunner().invoke(main.app, ["reproduce", "mtj-chip", "--data", "digits", "--out", str(tmp_path / "x")])
    assert isinstance(invoked.exception, BenchError)
    assert not (tmp_path / "x").exists()


def test_figures_are_those_of_the_dies(comparison: Comparison) -> None:
    f = comparison.of("statistics-aware", 1.0).figures()
    assert f["mean"] == pytest.approx(0.05)
    assert f["spread"] == pytest.approx(0.01)
    assert (f["best"], f["median"], f["worst"]) == pytest.approx((0.04, 0.05, 0.06))
    assert comparison.software == pytest.approx(0.03)
    assert comparison.of("statistics-aware", 1.0, other=True).seed == 9
    assert result("baseline", 1.0, [0.2]).figures()["spread"] == 0.0
    with pytest.raises(KeyError, match="density 3"):
        comparison.of("baseline", 3.0)


def test_tables_have_a_row_per_method_density_and_other_wafer(comparison: Comparison) -> None:
    rows = tables.chip_rows(comparison)
    assert [row[:3] for row in rows] == [
        *((m, "x 1", "3") for m in mtj_chip.METHODS),
        *((m, "x 2", "3") for m in mtj_chip.METHODS),
        ("statistics-aware, wafer 9", "x 1", "3"),
    ]
    assert rows[2][4] == "5.00"
    assert comparison.network == "digits, 64-50-20 (2 outputs per class)"
    text = tables.markdown(tables.CHIP_COLUMNS, rows, "legend")
    assert len({line.count("|") for line in text.splitlines()[:9]}) == 1
    sheet = tables.chip_csv(comparison).splitlines()
    assert sheet[0].startswith("method,density,wafer_seed,die,error")
    assert len(sheet) == 1 + 7 * 3
    assert sheet[-1].startswith("statistics-aware,1,9,D2,0.07,")
    assert json.loads(json.dumps(comparison.to_json()))["results"][0]["dies"][1]["die"] == "D1"


def test_pictures_are_drawn_twice_the_same(comparison: Comparison, tmp_path: Path) -> None:
    drawn = pictures.draw_chip(comparison, tmp_path)
    assert [p.name for p in drawn] == [
        f"{name}.{kind}"
        for name in ("error-per-die", "error-against-defects", "sensitivity")
        for kind in ("png", "svg")
    ]
    before = {p: p.read_bytes() for p in drawn}
    assert all(before.values())
    pictures.draw_chip(comparison, tmp_path)
    assert {p: p.read_bytes() for p in drawn} == before
