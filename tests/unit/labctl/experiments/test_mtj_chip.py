"""The integrated chip's experiment: its dies, its defects, its figures, tables and pictures."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from labctl import files
from labctl.cli import commands
from labctl.core.errors import BenchError
from labctl.core.site import Site
from labctl.experiments import denominators as counting
from labctl.experiments import losses as measured
from labctl.experiments import mtj_chip, pictures, tables
from labctl.experiments.chip_comparison import METHODS, ChipSettings, Comparison, DieError, Result
from labctl.experiments.denominators import Denominators, rules
from labctl.experiments.losses import Losses
from labctl.station import composition
from protocols.die_information import AccuracyTerms, DieInformation, Way
from sim_backend.description import DieDescription

EXAMPLES = Path(__file__).parents[4] / "examples"
OVERNIGHT = EXAMPLES / "overnight-36-dies.yaml"


def result(method: str, density: float, errors: list[float], *, seed: int = 36, other: bool = False) -> Result:
    dies = [DieError(f"D{k}", e, e + 0.01, 0.03, 0.99, 100 + 9 * k, 90 + k, 50) for k, e in enumerate(errors)]
    return Result(method, density, seed, other, tuple(dies))


def losses(method: str, terms: AccuracyTerms, wrong: float, *, own: bool = False, wafer: int = 9) -> Losses:
    """Two seeds, three of four dies, 400 images; the conventional networks get 12 and 20 of them wrong."""
    images, conventional = np.arange(400), np.array([[12], [20]]) > np.arange(400)
    dies = Denominators(4, 4, 3, ("D0", "D1", "D2"), ("defects > 900",), "ab" * 32)
    share = wrong + np.array([[0.0, 0.01, 0.05], [0.02, 0.03, 0.07]])
    return Losses(
        method,
        1.0,
        (wafer,),
        own,
        terms,
        "ideal",
        images < np.round(400 * share[..., None]),
        conventional,
        share - 0.01,
        dies,
    )


LOSSES = (
    losses("statistics-aware", AccuracyTerms(Way.UNTUNED, False, DieInformation.POPULATION, False, 0, 0), 0.05),
    losses("baseline", AccuracyTerms(Way.CALIBRATED, False, DieInformation.NONE, True, 0, 70), 0.04),
    losses("baseline", AccuracyTerms(Way.SUBTRACTED, False, DieInformation.NONE, False, 0, 0), 0.03),
)


@pytest.fixture
def comparison() -> Comparison:
    """Three methods at two densities on three dies, and another wafer."""
    results = [
        result(m, d, [base * d, base * d + 0.02, base * d + 0.01])
        for d in (2.0, 1.0)
        for m, base in zip(METHODS, (0.10, 0.05, 0.04), strict=True)
    ]
    results += [
        result(m, d, [base * d, base * d + 0.01, base * d + 0.02], seed=9, other=True)
        for d in (2.0, 1.0)
        for m, base in (("baseline", 0.11), ("statistics-aware", 0.05))
    ]
    settings = ChipSettings("digits", 3, (1.0, 2.0), wafers=(None, 9))
    rates = {1.0: {"good": 0.99, "short": 0.01}, 2.0: {"good": 0.98, "short": 0.02}}
    return Comparison(settings, tuple(results), rates, 20_000, (64, 50, 20), 2, {"baseline": 2.0}, 0.03, LOSSES)


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
    invoked = CliRunner().invoke(
        commands.app(), ["reproduce", "mtj-chip", "--data", "digits", "--out", str(tmp_path / "x")]
    )
    assert isinstance(invoked.exception, BenchError)
    assert not (tmp_path / "x").exists()


def test_figures_are_those_of_the_dies(comparison: Comparison) -> None:
    f = comparison.of("statistics-aware", 1.0).figures()
    assert f["mean"] == pytest.approx(0.05)
    assert f["spread"] == pytest.approx(0.01)
    assert (f["best"], f["median"], f["worst"]) == pytest.approx((0.04, 0.05, 0.06))
    assert comparison.software == pytest.approx(0.03)
    assert comparison.of("statistics-aware", 1.0, 9).seed == 9
    assert result("baseline", 1.0, [0.2]).figures()["spread"] == 0.0
    with pytest.raises(KeyError, match="density 3"):
        comparison.of("baseline", 3.0)


def test_tables_have_a_row_per_method_density_and_other_wafer(comparison: Comparison) -> None:
    rows = tables.chip_rows(comparison)
    assert [row[:3] for row in rows] == [
        *((m, "x 1", "3") for m in METHODS),
        *((m, "x 2", "3") for m in METHODS),
        *((f"{m}, wafer 9", f"x {d}", "3") for d in (1, 2) for m in ("baseline", "statistics-aware")),
    ]
    assert rows[2][4] == "5.00"
    assert comparison.network == "digits, 64-50-20 (2 outputs per class)"
    text = tables.markdown(tables.CHIP_COLUMNS, rows, "legend")
    assert len({line.count("|") for line in text.splitlines()[:9]}) == 1
    sheet = tables.chip_csv(comparison).splitlines()
    assert sheet[0].startswith("method,density,wafer_seed,die,error")
    assert len(sheet) == 1 + 10 * 3
    assert sheet[-1].startswith("statistics-aware,2,9,D2,0.12,")
    assert json.loads(json.dumps(comparison.to_json()))["results"][0]["dies"][1]["die"] == "D1"


def test_pictures_are_drawn_twice_the_same(comparison: Comparison, tmp_path: Path) -> None:
    drawn = pictures.draw_chip(comparison, tmp_path)
    assert [p.name for p in drawn] == [
        f"{name}.{kind}"
        for name in ("error-per-die", "error-against-defects", "losses", "sensitivity")
        for kind in ("png", "svg")
    ]
    before = {p: p.read_bytes() for p in drawn}
    assert all(before.values())
    pictures.draw_chip(comparison, tmp_path)
    assert {p: p.read_bytes() for p in drawn} == before


@pytest.mark.parametrize("methods", [METHODS[:1], METHODS[1:2], METHODS[::2], METHODS[::-1]])
def test_pictures_show_the_methods_that_were_made(comparison: Comparison, methods: tuple[str, ...], tmp_path: Path):
    """Also if none of them goes to the other wafer, or they are named in another order."""
    made = dataclasses.replace(
        comparison,
        settings=dataclasses.replace(comparison.settings, methods=methods),
        results=tuple(r for r in comparison.results if r.method in methods),
    )
    drawn = pictures.draw_chip(made, tmp_path)
    assert len(drawn) == 8
    figure = Figure()
    axes = figure.add_subplot()
    pictures._sensitivity(axes, made)
    other = [f"{method}, wafer 9" for method in methods if method != "hardware-aware"]
    assert sorted(axes.get_legend_handles_labels()[1]) == sorted([*methods, *other])


class Die:
    """A die of a finished run, whose network gets every second image wrong."""

    tables = ("survey", "accuracy")
    meta: ClassVar = {}

    def __init__(self, images: int) -> None:
        self.predicted = np.arange(images) % 2

    def table(self, name: str) -> dict[str, np.ndarray]:
        columns = {"way": "tuned", "per_die": False, "trained_with": 0, "remapped": False, "labelled": 9}
        columns |= {"unlabelled": 0, "second_gate": False, "software_test": 0.75}
        once = {key: np.array([value]) for key, value in columns.items()}
        return {**once, "prediction_test": self.predicted[None]}


def finished(monkeypatch: pytest.MonkeyPatch, bins: Sequence[str], conditions: Sequence[str] = (), images: int = 8):
    """Put a finished run in place of that of any folder: a die per soft bin."""
    names = [f"D{k}" for k in range(len(bins))]
    meta = {"bins": json.loads(rules(conditions)["bins"])}
    run = SimpleNamespace(planned=names, dies=names, meta=meta, die=lambda name: Die(images))
    state = SimpleNamespace(dies={name: SimpleNamespace(bin=b) for name, b in zip(names, bins, strict=True)})
    for module in (counting, measured, mtj_chip):
        monkeypatch.setattr(module, "open_run", lambda folder: run)
    monkeypatch.setattr(counting, "read_run", lambda folder: (state, None))


@pytest.mark.parametrize("images", [1, 5, 8])
def test_losses_are_of_the_images_that_were_classified(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    """A run may classify the first test images only (`readout.test_on`)."""
    finished(monkeypatch, ["good", "good"], images=images)
    conventional = np.array([[True, False, False, False, True, True, True, True]])
    (one,) = measured.read_losses(
        Path("run"), np.zeros(8, int), conventional, "baseline", density=1.0, wafer=9, own=False
    )
    assert one.wrong.shape == (1, 2, images)
    np.testing.assert_array_equal(one.wrong[0, 1], [k % 2 == 1 for k in range(images)])
    np.testing.assert_array_equal(one.conventional, conventional[:, :images])
    assert one.figures()["loss"] == pytest.approx(images // 2 / images - conventional[0, :images].mean())


def test_rules_that_leave_no_die_are_answered_with_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    finished(monkeypatch, ["good", "excluded", "contact"], ["defects > 9"])
    assert counting.denominators(Path("run")).included == ("D0",)
    finished(monkeypatch, ["excluded", "excluded", "contact"], ["defects > 9"])
    for reader in (counting.denominators, mtj_chip.read):
        with pytest.raises(BenchError, match=r"run: no die is left .* 0 included \(defects > 9 leaves"):
            reader(Path("run"))
    # without a rule no other rule is asked for
    finished(monkeypatch, ["contact"])
    with pytest.raises(BenchError, match=r"0 included \(no rule leaves a die out, sha256 \w+\)$"):
        counting.denominators(Path("run"))


@pytest.mark.parametrize(
    ("seed", "changed", "other"), [(None, {}, 36), (7, {}, 7), (None, {"seed": "8"}, 8), (7, {"seed": "8"}, 7)]
)
def test_the_other_wafer_is_another(monkeypatch: pytest.MonkeyPatch, seed, changed, other: int) -> None:
    """Whether the seed is the campaign's, changed in it, or given."""
    monkeypatch.setattr(mtj_chip, "libraries", lambda: (None, None))
    settings = ChipSettings("digits", seed=seed, set=changed, wafers=(None, other))
    with pytest.raises(BenchError, match=f"--wafers {other}: training sees the wafer of this") as refused:
        mtj_chip.reproduce(settings, None, OVERNIGHT)
    assert refused.value.exit_code == 2


def test_loss_is_paired_by_seed_and_drop_by_network() -> None:
    one = LOSSES[0]
    np.testing.assert_allclose(one.error, [[0.05, 0.06, 0.10], [0.07, 0.08, 0.12]])
    np.testing.assert_allclose(one.loss, [[0.02, 0.03, 0.07], [0.02, 0.03, 0.07]])
    np.testing.assert_allclose(one.drop, 0.01)
    f = one.figures()
    assert (f["loss"], f["loss_worst_die"]) == pytest.approx((0.04, 0.07))
    assert f["within"] == 1
    assert f["within_interval"] == pytest.approx([0.0615, 0.7923], abs=1e-4)
    # a die that is left out counts as one that is not within
    assert f["within_fabricated_interval"] == pytest.approx([0.0456, 0.6994], abs=1e-4)
    low, high = f["loss_interval"]
    assert low < 0.04 < high
    assert one.interval() == (low, high)


def test_interval_covers_images_too() -> None:
    """Of one die and one seed the interval is that of paired images."""
    one, images = LOSSES[0], 400
    single = dataclasses.replace(one, wrong=one.wrong[:1, :1], conventional=one.conventional[:1])
    difference = single.wrong[0, 0] * 1.0 - single.conventional[0]
    half = 1.96 * difference.std() / np.sqrt(images)
    assert single.interval() == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.002)


def test_table_of_losses_says_under_which_terms(comparison: Comparison) -> None:
    rows = tables.loss_rows(comparison)
    assert [row[:4] for row in rows] == [
        ("baseline", "9", "4 defect map", "subtracted"),
        ("baseline", "9", "4 defect map", "remapped, calibrated"),
        ("statistics-aware", "9", "1 population of dies", "untuned"),
    ]
    assert rows[2][4:7] == ("8.00", "1.00", "4.00")
    assert rows[2][-1] == "1 of 3 (6-79 % / 5-70 %)"
    legend = tables.loss_legend(comparison)
    for words in ("NOT ANALOG INFERENCE", "4 fabricated, 4 contacted, 3 surveyed, 3 included (defects > 900 leaves"):
        assert words in legend
    plain = json.loads(json.dumps(comparison.to_json()))["losses"]
    assert [loss["information"] for loss in plain] == [1, 4, 4]
    assert plain[0]["loss_by_seed_and_die"][1] == pytest.approx([0.02, 0.03, 0.07])
    assert [loss["analog"] for loss in plain] == [True, True, False]


def test_wafers_are_pooled_die_by_die() -> None:
    terms = AccuracyTerms(Way.UNTUNED, False, DieInformation.POPULATION, False, 0, 0)
    here, there = (losses("statistics-aware", terms, w, wafer=s) for w, s in ((0.05, 9), (0.07, 10)))
    together, other = measured.pooled([here, LOSSES[1], there])
    assert other is LOSSES[1]
    assert together.wafers == (9, 10)
    np.testing.assert_allclose(together.loss, np.concatenate([here.loss, there.loss], axis=1))
    assert together.dies.included == tuple(f"{wafer}/D{k}" for wafer in (9, 10) for k in range(3))
    assert together.dies.text.startswith("8 fabricated, 8 contacted, 6 surveyed, 6 included")
    low, high = together.interval()
    assert low < together.loss.mean() < high
    # that of the wafer that training knows stays by itself
    known = losses("statistics-aware", terms, 0.02, own=True, wafer=36)
    assert [one.wafers for one in measured.pooled([known, here, there])] == [(36,), (9, 10)]
    assert known.seen
    assert not losses("baseline", terms, 0.02, own=True, wafer=36).seen
    assert pictures._way(known, several=True) == "statistics-aware, wafer 36, 1: untuned"
    assert [one.wafers for one in measured.in_order([together, *LOSSES])] == [(9, 10), (9,), (9,), (9,)]


def test_rules_are_part_of_the_campaign() -> None:
    """Another rule is another run, and no rule of the campaign's own judges networks here."""
    plain, strict = (composition.read(OVERNIGHT, rules(conditions)) for conditions in ((), ("defects > 300",)))
    assert plain.to_json()["bins"] == []
    assert [b["when"] for b in strict.to_json()["bins"]] == ["defects > 300"]
    with pytest.raises(BenchError, match="no figure"):
        composition.read(OVERNIGHT, rules(("holes > 3",)))


def test_steps_are_counted_before_they_are_made() -> None:
    assert ChipSettings().steps == 3 + 1 + 3 + 2
    assert ChipSettings(methods=("baseline", "statistics-aware"), wafers=(None, 5)).steps == 2 + 1 + 4 + 4
    assert ChipSettings(methods=("baseline", "statistics-aware"), wafers=(5, 6)).steps == 2 + 1 + 8
    for wafers in ((), (5, 5), (None, None)):
        with pytest.raises(BenchError, match="--wafers: expected different ones"):
            mtj_chip.check(ChipSettings("digits", wafers=wafers))
    with pytest.raises(BenchError, match="expected own too"):
        mtj_chip.check(ChipSettings("digits", methods=("hardware-aware",), wafers=(5,)))
    with pytest.raises(BenchError, match="--methods best: expected some of baseline"):
        mtj_chip.check(ChipSettings("digits", methods=("best",)))
