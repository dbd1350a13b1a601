"""Training: what networks are told of cells, and that telling them helps. Maps need no JAX, training does."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.bias import Geometry
from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.units import FloatArray
from labctl.networks import datasets
from labctl.networks.training import engine
from labctl.networks.training.maps import DieSurvey, defect_rates, layer_cells, population
from labctl.networks.training.recipe import Levels, Recipe
from labctl.networks.training.trainer import Trained, Trainer
from protocols.chip_readout import Activation
from protocols.samples import Dataset
from protocols.tiling import Tiling

SMALL = Recipe(sizes=(13, 6, 3), scale=1.0, epochs=120, batch=148, rate=0.03)


def survey(name: str = "D", shorts: float = 0.0, seed: int = 0, shape: tuple[int, int, int] = (40, 5, 4)) -> DieSurvey:
    """Cells of 400 and 200 uS with 5 % spread; shorts of 2 mS, worth nine weights."""
    rng = np.random.default_rng(seed)
    g_p = 4e-4 * np.exp(0.05 * rng.normal(size=shape))
    g_ap, short = g_p / 2, rng.uniform(size=shape) < shorts
    g_p[short] = g_ap[short] = 2e-3
    return DieSurvey(name, g_p, g_ap, np.where(short, int(Defect.SHORT), 0))


def test_a_cell_is_its_two_conductances_between_those_of_the_mean_good_cell() -> None:
    g_p, g_ap = np.full((1, 2, 3), 4e-4), np.full((1, 2, 3), 2e-4)
    defect = np.zeros((1, 2, 3), np.uint8)
    g_p[0, 0], g_ap[0, 0] = [9e-3, 2e-4, np.nan], [9e-3, 2e-4, np.nan]
    defect[0, 0] = [Defect.SHORT, Defect.STUCK_AP, Defect.SHORT]
    g_p[0, 1, :2], g_ap[0, 1, :2] = [1e-9, np.nan], [1e-9, 2e-4]
    defect[0, 1, :2] = [Defect.OPEN, Defect.UNREADABLE]
    outcome = DieSurvey("D", g_p, g_ap, defect).cells
    # the short without a reading is taken for as good a conductor as the one that has one
    expected = [[[44, 44], [0, 0], [44, 44]], [[-1, -1], [-1, 0], [1, 0]]]
    np.testing.assert_allclose(outcome[0], expected, atol=1e-5)


def test_surveys_that_say_nothing_are_refused() -> None:
    shape = (1, 2, 3)
    with pytest.raises(BenchError, match="die D found no good cell"):
        DieSurvey("D", np.ones(shape), np.ones(shape), np.full(shape, Defect.OPEN))
    with pytest.raises(BenchError, match=r"expected one shape \(kernels, rows, columns\)"):
        DieSurvey("D", np.ones(shape), np.ones((1, 3, 2)), np.zeros(shape))
    with pytest.raises(BenchError, match="no survey was given"):
        population([])


def test_maps_follow_the_tiling() -> None:
    tiling = Tiling(((7, 6), (3, 4)), Geometry(6, 5, 4))
    cells = np.stack([np.arange(120.0), -np.arange(120.0)], axis=-1).reshape(6, 5, 4, 2)
    first, second = layer_cells(cells, tiling)
    assert first.shape == (7, 6, 2)
    assert second.shape == (3, 4, 2)
    # row 6, column 5 of the first layer: kernel 3, row 1, column 1
    assert first[6, 5].tolist() == [3 * 20 + 4 + 1, -(3 * 20 + 4 + 1)]
    assert second[2, 3, 0] == 4 * 20 + 2 * 4 + 3
    with pytest.raises(BenchError, match="tiled on"):
        layer_cells(cells[:5], tiling)


def test_population_keeps_rates_and_takes_of_every_die() -> None:
    dies = [survey(f"D{k}", shorts=0.2, seed=k) for k in range(4)]
    outcome = population(dies)
    assert outcome.shape == (3200, 2)
    assert (outcome[:, 0] > 5).mean() == pytest.approx(defect_rates(dies)["short"])
    assert sum(defect_rates(dies).values()) == pytest.approx(1.0)
    np.testing.assert_array_equal(population(dies, at_most=1300), outcome[::3])
    few = population(dies, bad_cells=0.25)
    bad, kept = outcome[:, 0] > 5, few[:, 0] > 5
    assert kept.sum() == pytest.approx(0.25 * bad.sum(), rel=0.15)
    np.testing.assert_array_equal(few[~kept], outcome[~bad])
    np.testing.assert_array_equal(population(dies, bad_cells=0.25), few)


def test_recipe_says_shapes_and_scales() -> None:
    recipe = Recipe(sizes=(64, 50, 10))
    assert recipe.shapes == ((64, 100), (50, 20))
    assert recipe.initial_scales == pytest.approx((4.0, 50**0.5 / 2))
    assert SMALL.initial_scales == (1.0, 1.0)
    with pytest.raises(ValidationError):
        Recipe(sizes=(64,))


def test_accuracy_on_a_map_reads_the_cells_there_are() -> None:
    weights = np.array([[[1.0, -1.0]], [[1.0, -1.0]]])  # two networks of one input and two outputs
    one = Trained((weights,), (np.zeros((2, 2)),), np.full((2, 1), 2.0), np.zeros(2))
    assert one.devices[0].tolist() == [[[1, 0, 0, 1]]] * 2
    x, y = np.array([[1.0], [-1.0], [0.5]]), np.array([0, 1, 0])
    assert one.accuracy_on(x, y).tolist() == [1.0, 1.0]
    nominal = np.zeros((1, 4, 2))
    nominal[..., 0] = 1.0
    short = nominal.copy()
    short[0, 2] = 30.0  # the wrong class gets 30 times the input
    assert one.accuracy_on(x, y, [nominal]).tolist() == [1.0, 1.0]
    assert one.accuracy_on(x, y, [short]).tolist() == [0.0, 0.0]
    assert one.accuracy_on(x, y, [np.stack([nominal, short])]).tolist() == [1.0, 0.0]


def test_without_jax_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jax", None)
    with pytest.raises(BenchError, match=r"pip install 'mtj-labctl\[train\]'"):
        engine.libraries()


def wine(seeds: int = 3, recipe: Recipe = SMALL, **given: Any) -> tuple[Trainer, Dataset]:
    pytest.importorskip("jax", reason="training needs jax and optax: the extra 'train'")
    data = datasets.load("wine")
    return Trainer(recipe, data.x_train, data.y_train, np.arange(seeds), **given), data


def trained(trainer: Trainer) -> Trained:
    while trainer.epoch < trainer.recipe.epochs:
        trainer.step()
    return trainer.result()


def same(a: Trained, b: Trained) -> bool:
    pairs = zip([*a.weights, *a.bias, a.scale], [*b.weights, *b.bias, b.scale], strict=True)
    return all(np.array_equal(m, n) for m, n in pairs)


def test_networks_learn_and_the_best_epoch_is_kept() -> None:
    trainer, data = wine()
    start = trainer.result().accuracy_on(data.x_train, data.y_train)
    seen = np.array([trainer.step() for _ in range(120)])
    outcome = trainer.result()
    np.testing.assert_allclose(outcome.accuracy, seen.max(axis=0))
    np.testing.assert_allclose(outcome.accuracy_on(data.x_train, data.y_train), outcome.accuracy)
    assert (outcome.accuracy > 0.9).all()
    assert (outcome.accuracy > start).all()
    assert outcome.scale.tolist() == [[1.0, 1.0]] * 3
    assert set(np.unique(outcome.weights[0])) == {-1.0, 0.0, 1.0}


def test_scale_is_learned_and_binary_has_no_zero() -> None:
    recipe = Recipe(sizes=(13, 6, 3), epochs=5, batch=148, levels=Levels.BINARY, activation=Activation.SIGN)
    trainer, data = wine(recipe=recipe)
    outcome = trained(trainer)
    assert set(np.unique(outcome.weights[0])) == {-1.0, 1.0}
    assert (outcome.scale != np.array(recipe.initial_scales)).all()
    np.testing.assert_allclose(outcome.accuracy_on(data.x_train, data.y_train, sign=True), outcome.accuracy)


def test_a_seed_gives_the_same_network_again() -> None:
    recipe = SMALL.model_copy(update={"epochs": 4})
    first, again = (trained(wine(recipe=recipe)[0]) for _ in range(2))
    assert same(first, again)
    assert not np.array_equal(first.weights[0][0], first.weights[0][1])


@pytest.mark.parametrize(
    "source", ["nothing", *(pytest.param(one, marks=pytest.mark.slow) for one in ("a map", "a population"))]
)
def test_a_checkpoint_goes_on_where_it_stopped(source: str) -> None:
    recipe = SMALL.model_copy(update={"epochs": 4, "maps": 2, "judged_maps": 3})
    given: dict[str, Any] = {}
    if source == "a map":
        given["cells"] = [np.random.default_rng(1).normal(size=(2, *shape, 2)) for shape in recipe.shapes]
    if source == "a population":
        given["population"] = population([survey(shorts=0.05)])
    whole = trained(wine(2, recipe, **given)[0])
    stopped, _ = wine(2, recipe, **given)
    for _ in range(2):
        stopped.step()
    later, _ = wine(2, recipe, **given)
    later.restore(stopped.state())
    assert later.epoch == 2
    assert same(trained(later), whole)
    state = stopped.state()
    state["state_000"] = state["state_000"][:1]
    with pytest.raises(BenchError, match="checkpoint is of another training: 'state_000'"):
        later.restore(state)


IMAGES = Recipe(sizes=(64, 30, 10), epochs=25, batch=128, rate=0.02, maps=1)


def maps(recipe: Recipe, dies: list[DieSurvey]) -> list[FloatArray]:
    """Per layer (dies, n_in, 2 n_out, 2)."""
    kernels, rows, cols = dies[0].g_p.shape
    outcome = [layer_cells(s.cells, Tiling(recipe.shapes, Geometry(kernels, rows, cols))) for s in dies]
    return [np.stack(layer) for layer in zip(*outcome, strict=True)]


@pytest.mark.slow
def test_knowing_the_cells_helps_on_the_die_and_their_statistics_on_others() -> None:
    pytest.importorskip("jax", reason="training needs jax and optax: the extra 'train'")
    data = datasets.load("digits")
    dies, others = ([survey(shorts=0.005, seed=first + k, shape=(11, 25, 25)) for k in range(10)] for first in (0, 100))
    own = maps(IMAGES, dies[:2])

    def fit(**given: Any) -> Trained:
        return trained(Trainer(IMAGES, data.x_train, data.y_train, np.arange(2), **given))

    def on(network: Trained, cells: list[FloatArray]) -> float:
        return float(network.accuracy_on(data.x_train, data.y_train, cells).mean())

    def elsewhere(network: Trained) -> float:
        return float(np.mean([on(network, [c[0] for c in maps(IMAGES, [die])]) for die in others]))

    blind, for_dies, for_all = fit(), fit(cells=own), fit(population=population(dies))
    assert on(for_dies, own) == pytest.approx(for_dies.accuracy.mean(), abs=1e-6)
    assert on(for_dies, own) > 0.95
    assert on(blind, own) < 0.85
    assert elsewhere(for_all) > elsewhere(blind) + 0.01


def test_what_does_not_fit_is_refused() -> None:
    _, data = wine(1)
    x, y, seeds = data.x_train, data.y_train, np.arange(2)
    with pytest.raises(BenchError, match=r"expected \(samples, 13\)"):
        Trainer(SMALL, x[:, :5], y, seeds)
    with pytest.raises(BenchError, match="classes 0 to 5; the network has 3"):
        Trainer(SMALL, x, y + 3 * (y == 2), seeds)
    with pytest.raises(BenchError, match="the maps have the shapes"):
        Trainer(SMALL, x, y, seeds, cells=maps(SMALL, [survey()]))
    with pytest.raises(BenchError, match="not for both"):
        Trainer(SMALL, x, y, seeds, cells=maps(SMALL, [survey(), survey()]), population=np.zeros((5, 2)))
    with pytest.raises(BenchError, match="too few for 4 maps"):
        Trainer(SMALL.model_copy(update={"batch": 3}), x, y, seeds, population=np.zeros((5, 2)))


def test_validation_samples_judge_and_do_not_train() -> None:
    """Networks do not change with the labels of samples that are kept out; the score is that of these."""
    pytest.importorskip("jax", reason="training needs jax and optax: the extra 'train'")
    wine = datasets.load("wine")
    recipe = SMALL.model_copy(update={"validation": 30, "epochs": 1, "batch": 59})
    wrong = wine.y_train.copy()
    wrong[-30:] = (wrong[-30:] + 1) % 3
    right, other = (Trainer(recipe, wine.x_train, y, np.arange(2)) for y in (wine.y_train, wrong))
    for trainer, y in ((right, wine.y_train), (other, wrong)):
        accuracy = trainer.step()
        expected = trainer.result().accuracy_on(wine.x_train[-30:], y[-30:])
        np.testing.assert_allclose(accuracy, expected, atol=1e-6)
    for a, b in zip(right.result().weights, other.result().weights, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(BenchError, match="148 validation samples of 148; expected fewer"):
        Trainer(SMALL.model_copy(update={"validation": 148}), wine.x_train, wine.y_train, np.arange(2))
