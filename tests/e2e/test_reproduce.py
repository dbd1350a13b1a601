"""The commands that repeat experiments: tiny ones, as a person would type them, and taken up again."""

import importlib.util
import json

import pytest

needs_jax = pytest.mark.skipif(
    not (importlib.util.find_spec("jax") and importlib.util.find_spec("optax")),
    reason="training needs jax and optax (mtj-labctl[train])",
)
METHODS = ["baseline", "hardware-aware", "statistics-aware"]


@pytest.mark.slow
@needs_jax
def test_two_chips_from_survey_to_table_and_taken_up_again(tmp_path, labctl):
    out = tmp_path / "chip"
    given = [
        *("reproduce", "mtj-chip", "--data", "digits", "--dies", 2, "--train", "epochs=3", "--train", "candidates=1"),
        # a small network, and as many kernels as it takes: an eighth of the cells
        *("--train", "sizes=[64, 10, 10]", "--train", "votes=1", "--set", "wafer.change.geometry.kernels=4"),
        # fewer images than there are
        *("--set", "stages.1.chip_inference.readout.test_on=100"),
        *("--set", "stages.1.chip_inference.readout.tune_on=200"),
        *("--wafers", "own,5", "--workers", 1, "--out", out, "--json"),
    ]
    first = labctl(*given, cwd=tmp_path)
    found = json.loads(first.stdout)
    assert [r["method"] for r in found["results"]] == [*METHODS, "baseline", "statistics-aware"]
    assert [r["seed"] for r in found["results"]] == [36, 36, 36, 5, 5]
    for r in found["results"]:
        assert len(r["dies"]) == 2
        assert all(0 <= d["error"] < 0.9 and d["fidelity"] > 0.95 and d["placed"] <= d["defects"] for d in r["dies"])
    # the same two dies in the middle of the wafer for every method, others on the other wafer
    placed = [[d["defects"] for d in r["dies"]] for r in found["results"]]
    assert placed[0] == placed[1] == placed[2] != placed[3] == placed[4]
    rates = found["defect_rates"][0]["rates"]
    assert sum(rates.values()) == pytest.approx(1)
    assert 1 - rates["good"] == pytest.approx(sum(placed[0]) / (2 * found["cells"]))
    assert {"error-per-die.svg", "error-against-defects.png", "table.md", "dies.csv", "steps.json"} <= {
        p.name for p in out.iterdir()
    }
    second = labctl(*given, cwd=tmp_path)
    assert "step 13 of 13" in second.stderr
    assert second.stderr.count("there already") == 13
    assert json.loads(second.stdout)["results"] == found["results"]
    refused = labctl(*given, "--set", "stages.1.chip_inference.readout.scales=5", cwd=tmp_path, expect=2)
    assert "stages.1.settings.readout.scales is 5, it was 11" in refused.stderr


@pytest.mark.slow
def test_a_few_networks_for_wine_from_training_to_table(tmp_path, labctl):
    done = labctl("reproduce", "wine-passive", "--count", 2, "--out", tmp_path / "wine", cwd=tmp_path)
    assert "step 2 of 2: campaign" in done.stderr
    found = json.loads((tmp_path / "wine" / "results.json").read_text())
    assert [round(d["diameter"] * 1e9) for d in found["dies"]] == [55, 65, 80, 100]
    for die in found["dies"]:
        assert len(die["fidelity"]) == 2
        assert die["figures"]["fidelity"] > 0.98
        assert die["figures"]["tuned_train"] > 0.9
    assert "100 nm" in (tmp_path / "wine" / "table.md").read_text()
    assert (tmp_path / "wine" / "accuracy.svg").is_file()


@pytest.mark.slow
def test_arrays_of_each_size_from_dies_to_curves(tmp_path, labctl):
    few = ("--set", "stages.0.survey.kernels=[0, 1]", "--dies", 1, "--workers", 1)
    labctl("reproduce", "wine-sizes", *few, "--out", tmp_path / "sizes", cwd=tmp_path)
    found = json.loads((tmp_path / "sizes" / "results.json").read_text())
    assert [round(size["diameter"] * 1e9) for size in found["sizes"]] == [55, 65, 80, 100]
    for size in found["sizes"]:
        figures = {name: value["mean"] for name, value in size["figures"].items()}
        assert 0.8 < figures["blind"] <= figures["verified"] == 1.0
        assert figures["tuned_train"] > 0.9
    assert (tmp_path / "sizes" / "sizes.svg").is_file()
