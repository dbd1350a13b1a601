"""The command line does what it says, and refuses with a clear message and its exit code."""

import json
import shutil
import sys

import jsonschema
import numpy as np
import pytest
import yaml

import labctl as package
from labctl.networks import datasets, solutions
from tests.e2e.conftest import EXAMPLES


def test_a_run_ends_with_one_line_of_json_and_sealed_files(finished, few_solutions):
    folder, said = finished
    assert (said["outcome"], said["exit"], said["path"]) == ("success", 0, str(folder))
    (die,) = said["dies"]
    assert (die["die"], die["bin"]) == ("D80", "good")
    shipped = solutions.load(few_solutions)
    assert [s["index"] for s in die["solutions"]] == shipped.index.tolist()
    for solution in die["solutions"]:
        assert solution["fidelity"] > 0.9
        for tuning in ("untuned", "tuned"):
            for part in ("train", "test"):
                assert 0.5 < solution["accuracy"][tuning][part] <= 1
    assert (folder / "dies" / "D80.h5").is_file()
    assert (folder / "run.h5").is_file()


def test_the_opened_run_says_what_the_json_said_and_what_can_be_computed_again(finished):
    folder, said = finished
    run = package.open_run(folder)
    table = run.table("write", "D80")
    np.testing.assert_array_equal(table["fidelity"], [s["fidelity"] for s in said["dies"][0]["solutions"]])
    readback = run.table("readback", "D80")
    for k, index in enumerate(table["solution"]):
        own = readback["solution"] == index
        assert table["fidelity"][k] == np.mean(readback["state"][own] == readback["target"][own])
    data = datasets.load("wine")
    prediction, inference = run.table("prediction", "D80"), run.table("inference", "D80")
    for tuning in ("untuned", "tuned"):
        for part, labels in (("train", data.y_train), ("test", data.y_test)):
            right = (prediction[f"{tuning}_{part}"] == labels).mean(axis=1)
            np.testing.assert_allclose(inference[f"accuracy_{tuning}_{part}"], right)


def test_the_same_seed_gives_the_same_data_and_another_seed_does_not(finished, campaign, labctl, tmp_path):
    folder, _ = finished
    labctl("run", campaign, "--out", tmp_path / "again")
    labctl("run", campaign, "--out", tmp_path / "other", "--seed", "99")
    first, again, other = (package.open_run(p) for p in (folder, tmp_path / "again", tmp_path / "other"))
    for name in first.tables:
        a, b = first.table(name), again.table(name)
        for column in a:
            if column not in ("utc", "seq"):
                np.testing.assert_array_equal(a[column], b[column], err_msg=f"{name}.{column}")
    assert not np.array_equal(first.table("survey")["g_p"], other.table("survey")["g_p"])


def test_show_prints_figures_and_draws_pictures_of_the_sealed_file_too(finished, labctl):
    folder, _ = finished
    assert "D80" in labctl("show", folder).stdout
    done = labctl("show", folder, "--plot")
    assert "G_P as surveyed, from" in done.stdout
    assert "ideal" in done.stdout
    assert (folder / "plots" / "D80.png").stat().st_size > 20_000
    said = json.loads(labctl("show", folder / "dies" / "D80.h5", "--json").stdout)
    assert said["dies"][0]["die"] == "D80"


def test_plan_says_what_would_be_done_and_writes_nothing(campaign, labctl, tmp_path):
    done = labctl("plan", campaign, "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert said["total"]["pulses"] > 100
    assert said["total"]["time"] > 1
    assert {s["stage"] for s in said["stages"]} == {"survey", "network"}
    assert not list(tmp_path.iterdir())


def test_the_schema_accepts_the_example_and_refuses_a_misspelt_key(labctl, campaign):
    schema = json.loads(labctl("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    example = yaml.safe_load(campaign.read_text())
    jsonschema.validate(example, schema)
    example["stagse"] = []
    with pytest.raises(jsonschema.ValidationError, match="stagse"):
        jsonschema.validate(example, schema)
    for which in ("die", "wafer", "bench", "training"):
        jsonschema.Draft202012Validator.check_schema(json.loads(labctl("schema", which).stdout))
    for which, file in (("bench", "bench-two-arrays.yaml"), ("wafer", "wafers/wafer-36.yaml")):
        written = yaml.safe_load((EXAMPLES / file).read_text())
        jsonschema.validate(written, json.loads(labctl("schema", which).stdout))


def test_doctor_finds_this_installation_sound(labctl, tmp_path):
    done = labctl("doctor", "--json", cwd=tmp_path)
    assert all(f["ok"] for f in json.loads(done.stdout))


def test_doctor_warns_of_a_place_where_no_run_should_be(labctl, tmp_path):
    (tmp_path / "Dropbox").mkdir()
    done = labctl("doctor", "--json", cwd=tmp_path / "Dropbox", expect=2)
    (wrong,) = [f for f in json.loads(done.stdout) if not f["ok"]]
    assert wrong["check"] == "place for runs"
    assert "synchronised by a program (Dropbox" in wrong["text"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["stages.1.network.write_verify.v_max=0.45"], "450 mV"),
        (["stages.1.network.write_verify.v_max=900 mV"], "cell voltage towards"),
        (["stages.1.network.write_verify.v_max=nan V"], "number"),
        (["stages.1.network.write_verify.vmax=500 mV"], "v_max"),
        (["limits.width=500 us"], "pulse width"),
        (["limits.width=-1 ms"], "limits.width"),
        (["stages.1.network.placement.0.row=9"], "row"),
        (["solutions=nowhere.npz"], "nowhere.npz"),
        (["data=digits"], "features"),
        (["dies.0.change={junction: {diameter: 80}}"], "80"),
        (["nonsense"], "key=value"),
    ],
)
def test_what_is_wrong_in_the_files_is_refused_before_a_folder_is_made(campaign, labctl, tmp_path, settings, says):
    arguments = [part for s in settings for part in ("--set", s)]
    done = labctl("run", campaign, "--out", tmp_path / "run", *arguments, expect=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_mistake_in_the_file_is_named_with_file_and_line(campaign, labctl, tmp_path):
    text = campaign.read_text().replace("v_start: 420 mV", "v_start: 420")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text)
    line = 1 + text[: text.index("v_start: 420")].count("\n")
    done = labctl("plan", wrong, expect=2)
    assert f"wrong.yaml:{line}" in done.stderr
    assert "420" in done.stderr


def test_solutions_of_a_wrong_shape_are_refused(campaign, labctl, tmp_path, few_solutions):
    path = tmp_path / "wrong.npz"
    with np.load(few_solutions) as found:
        np.savez(path, **{**found, "fc2_devices": found["fc2_devices"][:, :5]})
    done = labctl("run", campaign, "--set", f"solutions={path}", "--out", tmp_path / "run", expect=2)
    assert "fc2_devices" in done.stderr


def test_a_missing_campaign_is_exit_code_2(labctl, tmp_path):
    done = labctl("run", tmp_path / "none.yaml", expect=2)
    assert "none.yaml" in done.stderr


def test_an_existing_run_is_not_written_over(finished, campaign, labctl):
    folder, _ = finished
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    done = labctl("run", campaign, "--out", folder, expect=2)
    assert "never writes over" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_an_output_folder_that_cannot_be_made_is_refused(campaign, labctl, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = labctl("run", campaign, "--out", tmp_path / "file" / "run", expect=2)
    assert "file" in done.stderr
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is a read-only place on Linux")
def test_a_read_only_place_is_refused(campaign, labctl):
    done = labctl("run", campaign, "--out", "/proc/run", expect=2)
    assert "--out" in done.stderr


def test_one_array_serves_both_layers_one_after_the_other(campaign, labctl, tmp_path):
    done = labctl(
        *("run", campaign, "--out", tmp_path / "run", "--json", "--set", "stages.1.network.placement.1.kernel=0")
    )
    (die,) = json.loads(done.stdout)["dies"]
    assert all(s["accuracy"]["tuned"]["train"] > 0.9 for s in die["solutions"])


def test_a_die_that_falls_short_goes_to_a_bin_and_the_run_ends_with_1(campaign, labctl, tmp_path):
    blind = ("--set", "stages.1.network.inference.v_read=50 uV", "--set", "accept.accuracy=99 %")
    done = labctl("run", campaign, "--out", tmp_path / "run", "--json", *blind, expect=1)
    said = json.loads(done.stdout)
    assert (said["outcome"], said["exit"], said["dies"][0]["bin"]) == ("success", 1, "low-accuracy")


def test_every_stored_quantity_has_its_unit_and_the_inputs_are_kept_verbatim(finished, campaign, few_solutions):
    folder, _ = finished
    kept = list((folder / "files").iterdir())
    assert any(p.read_bytes() == campaign.read_bytes() for p in kept)
    assert any(p.read_bytes() == few_solutions.read_bytes() for p in kept)
    run = package.open_run(folder)
    assert run.table("survey").units["g_p"] == "S"
    assert run.table("attempt").units["voltage"] == "V"
    said = json.loads((folder / "run.json").read_text())
    assert {"numpy", "h5py", "python"} <= set(said["versions"])
    assert said["seed"] == 2112


def test_a_copied_run_folder_still_opens(finished, labctl, tmp_path):
    folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    assert package.open_run(tmp_path / "copy").table("write").rows == 2
    (weights,) = (tmp_path / "copy" / "files").glob("*.npz")
    assert len(solutions.load(weights)) == 2


def test_the_operator_of_the_campaign_answers_for_the_run(campaign, labctl, tmp_path):
    run = tmp_path / "run"
    labctl("run", campaign, "--out", run, "--set", "operator=Kim, night shift")
    assert json.loads((run / "run.json").read_text())["operator"] == "Kim, night shift"
    assert "Kim, night shift" in (run / "report.html").read_text(encoding="utf-8")
    labctl("export", run, "--stdf", tmp_path / "a.stdf")
    assert b"Kim, night shift" in (tmp_path / "a.stdf").read_bytes()
