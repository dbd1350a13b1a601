"""Surveyed cells in simulators of others: CrossSim itself makes its cores of them, where it is installed."""

import importlib
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import labctl
from labctl.cli.export import register
from labctl.core.errors import BenchError
from labctl.export import simulators
from labctl.networks.trained_network import surveys
from labctl.networks.training.maps import DieSurvey
from tests.small_run import write_run

DIE = (
    "name: small\ngeometry: {kernels: 2, n_rows: 6, n_cols: 5}\n"
    "junction: {diameter: 80 nm, ra: 12 ohm um^2, tmr: 120 %}\n"
    "simulation: {defects: {short: 5 %, stuck_ap: 5 %}}\n"
)
CAMPAIGN = """\
name: small
dies: [{name: A, file: small.yaml}, {name: B, file: small.yaml}]
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,
  pulses_per_cell: 1000}
stages: [survey: {}]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = tmp_path_factory.mktemp("desk")
    (desk / "small.yaml").write_text(DIE, encoding="utf-8")
    (desk / "campaign.yaml").write_text(CAMPAIGN, encoding="utf-8")
    return Path(labctl.run(desk / "campaign.yaml", desk / "run", progress=False, workers=1).path)


def surveyed(run: Path) -> tuple[Any, Any]:
    table = labctl.open_run(run).table("survey")
    good = table["defect"] == 0
    return table["g_p"][good], table["g_ap"][good]


def test_crosssim_makes_its_cores_of_the_surveyed_cells(run: Path, tmp_path: Path, monkeypatch: Any) -> None:
    simulator = pytest.importorskip("simulator", reason="needs CrossSim 3.2 (sandialabs/cross-sim) on the path")
    simulators.write_crosssim(run, tmp_path / "out")
    monkeypatch.syspath_prepend(tmp_path / "out")
    importlib.import_module("surveyed_mtj")
    parameters = simulator.CrossSimParameters.from_json(tmp_path / "out" / "crosssim.json")
    weights = np.where(np.random.default_rng(2).random((20, 30)) < 0.5, -1.0, 1.0)
    np.random.seed(3)  # noqa: NPY002 - what CrossSim draws from
    core = simulator.AnalogCore(weights, parameters)
    g_p, g_ap = surveyed(run)
    read = core.get_matrix()  # differences of two cells, as weights
    differences = {round(float(d), 3) for d in ((read * (g_p.mean() - g_ap.mean())) * 1e6).ravel()}
    table = labctl.open_run(run).table("survey")
    p, ap = np.round(table["g_p"].ravel() * 1e6, 9), np.round(table["g_ap"].ravel() * 1e6, 9)
    possible = np.concatenate([np.subtract.outer(p, ap).ravel(), np.subtract.outer(ap, p).ravel()])
    assert all(np.abs(possible - one).min() < 2e-3 for one in differences)
    assert len(differences) > 100  # cells differ from each other
    assert abs(np.median(read[weights > 0]) - 1) < 0.1
    assert parameters.xbar.device.Rmin == pytest.approx(1 / g_p.mean())
    del sys.modules["surveyed_mtj"]


def test_the_noise_model_has_the_spread_of_each_state_at_its_conductance(run: Path, tmp_path: Path) -> None:
    (path,) = simulators.write_aihwkit(run, tmp_path / "out")
    module = runpy.run_path(str(path))
    arguments = module["arguments"]()
    g_p, g_ap = surveyed(run)
    assert module["G_P"] == pytest.approx(g_p.mean() * 1e6, rel=1e-5)
    for conductance, spread in ((g_p.mean(), g_p.std()), (g_ap.mean(), g_ap.std())):
        share = conductance * 1e6 / module["G_P"]
        modelled = sum(c * share**k for k, c in enumerate(arguments["prog_coeff"]))
        assert modelled == pytest.approx(spread * 1e6, rel=1e-4)
    documented = {
        "prog_coeff",
        "prog_noise_scale",
        "drift_nu_mean",
        "drift_nu_std",
        "t_0",
        "t_read",
        "read_noise_scale",
    }
    assert set(arguments) == documented


@pytest.fixture
def noise_model(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("aihwkit", reason="needs the extra aihwkit: aihwkit 1.1.0 with PyTorch 2.10")
    monkeypatch.setattr(simulators, "read_noise_of", lambda run: 0.01)  # a survey alone shows none
    (path,) = simulators.write_aihwkit(run, tmp_path / "out")
    return runpy.run_path(str(path))["noise_model"]()


def test_aihwkit_programs_and_reads_pairs_as_the_survey_has_them(run: Path, noise_model: Any) -> None:
    torch = importlib.import_module("torch")
    torch.manual_seed(5)
    g_p, g_ap = (1e6 * state for state in surveyed(run))
    weights = torch.tensor(np.random.default_rng(2).choice([-1.0, 0.0, 1.0], (300, 200)))
    pair, _ = noise_model.g_converter.convert_to_conductances(weights)
    for cells, sign in zip(pair, (1, -1), strict=True):
        in_p = weights.numpy() == sign
        for chosen, state in ((in_p, g_p), (~in_p, g_ap)):
            wanted = cells.double()
            assert wanted[chosen].mean().item() == pytest.approx(state.mean(), rel=1e-4)
            programmed = noise_model.apply_programming_noise_to_conductance(wanted.clone())[chosen]
            assert programmed.mean().item() == pytest.approx(state.mean(), rel=0.01)
            assert programmed.std().item() == pytest.approx(state.std(), rel=0.05)
            read = noise_model.apply_drift_noise_to_conductance(wanted.clone(), 0 * wanted, 0.0)[chosen]
            assert (read / state.mean()).std().item() == pytest.approx(0.01, rel=0.05)


def test_a_layer_of_aihwkit_has_the_spread_of_the_survey(run: Path, noise_model: Any) -> None:
    torch, nn = importlib.import_module("torch"), importlib.import_module("aihwkit.nn")
    config = importlib.import_module("aihwkit.simulator.configs").InferenceRPUConfig(noise_model=noise_model)
    config.forward.is_perfect = True
    torch.manual_seed(5)
    signs = torch.tensor(np.random.default_rng(3).choice([-1.0, 1.0], (100, 80)), dtype=torch.float32)
    layer = nn.AnalogLinear(80, 100, bias=False, rpu_config=config)
    layer.set_weights(signs)
    layer.eval()
    layer.program_analog_weights()
    with torch.no_grad():
        programmed = layer(torch.eye(80)).T.numpy()
    g_p, g_ap = surveyed(run)
    sigma = np.hypot(g_p.std(), g_ap.std()) / (g_p.mean() - g_ap.mean())
    assert (programmed - signs.numpy()).std() == pytest.approx(sigma, rel=0.05)
    assert np.abs(programmed - signs.numpy()).mean() < 3 * sigma


def test_the_noise_of_a_reading_is_that_of_two_readings_of_one_state() -> None:
    rng = np.random.default_rng(4)
    g_p, g_ap = rng.uniform(300e-6, 400e-6, (1, 40, 50)), rng.uniform(150e-6, 180e-6, (1, 40, 50))
    noisy = lambda g: g * (1 + 0.004 * rng.standard_normal(g.shape))  # noqa: E731
    row, col = (index.ravel() for index in np.indices((40, 50)))
    target = rng.random(row.size) < 0.5
    read = np.where(target, noisy(g_p)[0][row, col], noisy(g_ap)[0][row, col])
    survey = {"kernel": np.zeros(1, int), "g_p": noisy(g_p), "g_ap": noisy(g_ap), "defect": np.zeros(g_p.shape, int)}
    back = {
        "kernel": np.zeros(row.size, int), "row": row, "col": col, "target": target, "conductance": read,
        "flag": np.zeros(row.size, int),
    }  # fmt: skip

    class Die:
        tables = ("survey", "readback")

        def __init__(self, void: bool) -> None:
            self.void = void

        def table(self, name: str) -> Any:
            assert not self.void, "a void try says nothing of noise"
            return survey if name == "survey" else back

    class Run:
        dies = ("A", "B")

        def die(self, name: str) -> Die:
            return Die(void=name == "B")

    assert simulators.read_noise_of(Run()) == pytest.approx(0.004, rel=0.1)  # type: ignore[arg-type]


def test_the_command_writes_both_and_refuses_what_was_not_surveyed(run: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, [str(run), "--crosssim", str(tmp_path / "c"), "--aihwkit", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in tmp_path.glob("*/*")) == [
        "crosssim.json",
        "maps.npz",
        "surveyed_mtj.py",
        "surveyed_noise.py",
    ]
    compile((tmp_path / "c" / "surveyed_mtj.py").read_text(encoding="utf-8"), "surveyed_mtj.py", "exec")
    with np.load(tmp_path / "c" / "maps.npz") as maps:
        assert maps["g_p"].shape == (2, 2, 6, 5)
    again = CliRunner().invoke(app, [str(run), "--crosssim", str(tmp_path / "c")])
    assert "is not empty" in str(again.exception)
    with pytest.raises(BenchError, match="has no surveyed die"):
        simulators.write_aihwkit(write_run(tmp_path / "other"), tmp_path / "none")
    one, other = (DieSurvey(n, np.ones(s), np.ones(s), np.zeros(s)) for n, s in (("A", (1, 2, 3)), ("B", (1, 3, 2))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulators, "surveys", lambda path, **_: [one, other])
        with pytest.raises(BenchError, match="dies of several shapes"):
            simulators.write_crosssim(run, tmp_path / "none")


def test_what_two_gates_left_is_no_conductance_of_a_cell(tmp_path: Path) -> None:
    chip = "name: small\ngeometry: {kind: 1T1R, kernels: 1, n_rows: 6, n_cols: 5}\njunction: {diameter: 80 nm}\n"
    (tmp_path / "small.yaml").write_text(chip, encoding="utf-8")
    read = "{v_gate: 1.6 V, second_gate: {share: 8.5 %}}"
    campaign = CAMPAIGN.replace("survey: {}", f"survey: {{inference: {read}}}").replace(
        "limits: {", "limits: {v_gate: 3.3 V, "
    )
    (tmp_path / "campaign.yaml").write_text(campaign, encoding="utf-8")
    path = Path(labctl.run(tmp_path / "campaign.yaml", tmp_path / "run", progress=False, workers=1).path)
    trained, (exported, _) = surveys(path)[0], simulators._surveyed(path)
    good = trained.good
    assert np.median(trained.g_p[good]) < 0.6 * np.median(exported[0].g_p[good])
    own = labctl.open_run(path).table("survey")
    np.testing.assert_array_equal(exported[0].g_p[0], own["g_p"][0])
