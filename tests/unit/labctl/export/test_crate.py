"""A published bundle: its structure, its scripts, and what must not be in it."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

import labctl
from labctl.cli import publish as command
from labctl.config.about import About
from labctl.core.errors import BenchError, StorageError
from labctl.core.events import Resumed
from labctl.core.figure import Figure
from labctl.core.picture import CellMap, Curves, Declared
from labctl.export import crate
from labctl.export.crate import publish, zipped
from labctl.export.crate_check import contents, problems
from labctl.export.crate_metadata import NAME
from labctl.export.figure_scripts import draw, scripts_of, wafer_picture
from labctl.export.private import Private
from labctl.files import load
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.run_log import Runlog, recorded_digests

DIE = "name: small\ngeometry: {n_rows: 4, n_cols: 3}\njunction: {diameter: 80 nm, ra: 12 ohm um^2, tmr: 120 %}\n"
CAMPAIGN = """\
name: small
title: Two dies | of 4 x 3 cells
operator: Ana
temperature: 300 K
dies:
  - {name: A, file: small.yaml}
  - {name: B, file: small.yaml, change: {junction: {diameter: 60 nm}}, at: [1, 2]}
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA,
  v_count: 350 mV, pulses_per_cell: 1000}
stages:
  - survey: {}
"""
ABOUT = {
    "licence": "CC-BY-4.0",
    "authors": [{"name": "Ana", "affiliation": "a lab", "orcid": "0000-0002-1825-0097"}],
    "publisher": "a lab",
    "genealogy": [{"step": "stack sputtered", "when": date(2026, 3, 1), "by": "fab 3"}, {"step": "diced"}],
    "probe_card": "maker M, card 7",
    "ambient": "22 C, 40 % humidity",
    "notes": "The second die was measured first.",
    "keywords": ["MTJ", "survey"],
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = tmp_path_factory.mktemp("somebodys-desk")
    (desk / "small.yaml").write_text(DIE, encoding="utf-8")
    (desk / "campaign.yaml").write_text(CAMPAIGN, encoding="utf-8")
    return Path(labctl.run(desk / "campaign.yaml", desk / "run", progress=False, workers=1).path)


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


@pytest.fixture(scope="module")
def bundle(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("out") / "bundle"
    publish(original, target, "CC-BY-4.0", About.model_validate(ABOUT), "2026-12-01")
    return target


def graph(bundle: Path) -> dict[str, Any]:
    return {one["@id"]: one for one in json.loads((bundle / NAME).read_text(encoding="utf-8"))["@graph"]}


def test_it_is_an_ro_crate_whose_files_are_all_there_with_their_digests(bundle: Path) -> None:
    assert problems(bundle) == []
    entities = graph(bundle)
    root = entities["./"]
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert (root["name"], root["datePublished"]) == ("Two dies | of 4 x 3 cells", "2026-12-01")
    assert "No device was measured." in root["description"]
    assert root["author"] == {"@id": "https://orcid.org/0000-0002-1825-0097"}
    assert entities[root["publisher"]["@id"]]["name"] == "a lab" == entities["#organization-a-lab"]["name"]
    for part in root["hasPart"]:
        data = (bundle / part["@id"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entities[part["@id"]]["sha256"]
    assert {"data/A.h5", "data/B.h5", "data/dies.csv", "dictionary.csv", "README.md"} <= set(entities)
    assert [entities[f"#origin-{n}"]["name"] for n in (1, 2)] == ["stack sputtered", "diced"]
    action = entities["#run"]
    assert {"@id": "#probe-card"} in action["instrument"]
    assert action["agent"] == root["author"]
    conditions = [entities[one["@id"]] for one in action["additionalProperty"]]
    told = {one["name"]: one["value"] for one in conditions}
    assert (told["temperature of the dies"], told["ambient"]) == (300.0, "22 C, 40 % humidity")
    assert entities["#notes"]["text"] == ABOUT["notes"]


def test_the_library_of_ro_crates_reads_it(bundle: Path) -> None:
    library = pytest.importorskip("rocrate.rocrate", reason="needs rocrate")
    crate = library.ROCrate(str(bundle))
    assert crate.name == "Two dies | of 4 x 3 cells"
    assert {one.id for one in crate.data_entities} == {name for name, _ in contents(bundle) if name != NAME}
    assert crate.get("#run")["agent"]["name"] == "Ana"


def test_the_dictionary_has_unit_and_meaning_of_every_column(bundle: Path) -> None:
    lines = (bundle / "dictionary.csv").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith('survey,g_p,"row, col",float64,S,after writing P') for line in lines)
    assert any(line.startswith("attempt,voltage,,float64,V,magnitude at the selected cell") for line in lines)
    assert any("1 short: conducts more" in line for line in lines if line.startswith("survey,defect"))
    assert any(line.startswith("dies.csv,r_p,,float64,ohm,") for line in lines)
    published = labctl.open_run(bundle / "data" / "B.h5")
    columns = {(name, column) for name in published.tables for column in published.table(name) if column != "die"}
    assert columns <= {tuple(line.split(",")[:2]) for line in lines}


def test_the_data_are_those_of_the_run(original: Path, bundle: Path) -> None:
    run = labctl.open_run(original)
    for die in run.dies:
        published = labctl.open_run(bundle / "data" / f"{die}.h5")
        for name in published.tables:
            for column, values in run.table(name, die).items():
                np.testing.assert_array_equal(published.table(name)[column], values)
        here, there = run.die(die).operations(), published.die(die).operations()
        for one, other in zip(here, there, strict=True):
            assert (one.seq, one.kind) == (other.seq, other.kind)
            np.testing.assert_array_equal(one.intent["bias"]["row"], other.intent["bias"]["row"])


def test_scripts_draw_the_pictures_again_without_this_suite(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "elsewhere"))
    pictures = {path.name: path.read_bytes() for path in copy.glob("figures/*.png")}
    assert {"survey_g_p.A.png", "survey_distribution.B.png", "dies_r_p.png"} <= set(pictures)
    for path in copy.glob("figures/*.png"):
        path.unlink()
    program = (
        "import runpy, sys\n"
        "for name in ('labctl', 'protocols', 'instruments', 'sim_backend'): sys.modules[name] = None\n"
        "for script in sys.argv[1:]: runpy.run_path(script, run_name='__main__')\n"
    )
    scripts = sorted(str(path) for path in copy.glob("figures/*.py"))
    subprocess.run([sys.executable, "-I", "-c", program, *scripts], cwd=tmp_path, check=True, timeout=120)
    assert {path.name: path.read_bytes() for path in copy.glob("figures/*.png")} == pictures
    told = graph(bundle)
    results = [one["result"] for name, one in told.items() if name.startswith("#draw-")]
    drawn = {picture["@id"] for one in results for picture in (one if isinstance(one, list) else [one])}
    assert drawn == {f"figures/{name}" for name in pictures}


def test_a_zip_depends_on_names_and_contents_alone(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    for name, folder in (("a.zip", bundle), ("b.zip", copy)):
        zipped(folder, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert problems(tmp_path / "a.zip") == []


def test_no_path_no_account_and_no_secret_is_in_it(original: Path, bundle: Path) -> None:
    for name, data in ((path.name, path.read_bytes()) for path in bundle.rglob("*") if path.is_file()):
        for word in (str(original), "somebodys-desk", str(Path.home()), sys.prefix, f"@{socket.gethostname()}"):
            assert word.encode() not in data, f"{name} has {word}"
    meta = labctl.open_run(bundle / "data" / "A.h5").meta
    assert not {"argv", "cwd", "host", "executable", "operator", "files", "processor", "set"} & meta.keys()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("# see /home/ana/mtj/first.yaml", "a path of a computer"),
        ("# C:\\Users\\ana\\mtj.yaml", "a path of a computer"),
        ("# \\\\server\\share\\mtj.yaml", "a path of a computer"),
        ("# ~ana/mtj/first.yaml", "a path of a computer"),
        ("path: ~/mtj.yaml", "a path of a computer"),
        ("# file:///home/a/x", "a path of a computer"),
        ("data:/mnt/nas/x", "a path of a computer"),
        ("# nas:/export/lab/x", "a path of a computer"),
        ("# //server/share/x", "a path of a computer"),
        ("# smb://server/share/x", "a path of a computer"),
        ("# https://www.example.org/x?at=/home/ana/x", "a path of a computer"),
        ("# k:/ ~/ and ~1/2", ""),
        ("# https://www.example.org:8080/a/b.html#c, doi://10.1103/a/b, <a><b/></a>, a//b/c/", ""),
        ("# https://hooks.example.org/services/T0/B0", "the address of a webhook"),
        ("# https://www.example.org/a/b.html and 1/2, a/b, 50 %/min", ""),
    ],
)
def test_what_must_not_leave_is_known(tmp_path: Path, line: str, why: str) -> None:
    assert Private(tmp_path, {}).found_in(line) == why


def test_an_input_with_a_path_is_left_out_and_said(run: Path, tmp_path: Path) -> None:
    from labctl.export import crate_data

    meta = labctl.open_run(run).meta
    text = (run / "files" / "01-small.yaml").read_bytes() + b"# from /home/ana/mtj\n"
    (run / "files" / "01-small.yaml").write_bytes(text)
    meta["files"]["01-small.yaml"]["sha256"] = hashlib.sha256(text).hexdigest()
    kept, left = crate_data.inputs_of(run, {**meta, "roles": {"campaign": "00-campaign.yaml"}}, Private(run, meta))
    assert (sorted(kept), left) == (["00-campaign.yaml"], {"01-small.yaml": "it has a path of a computer in it"})
    kept, left = crate_data.inputs_of(run, {**meta, "roles": {"bench": "00-campaign.yaml"}}, Private(run, meta))
    assert left["00-campaign.yaml"] == "a bench file, which has addresses of the lab's network"
    with pytest.raises(StorageError, match="is not the file that the run was started with"):
        crate_data.inputs_of(run, labctl.open_run(run).meta, Private(run, meta))


NOISE = np.frombuffer(b"k:/ ~/ \\\\a\\ /a/b/" * 40, np.uint8)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"w": NOISE, "training": np.array('{"data": "wine"}'), "names": np.array([b"a", b"b"])}, ""),
        ({"training": np.array('{"data": "/home/ana/wine.npz"}')}, "its array training has a path of a computer in it"),
        ({"t": np.array(json.dumps({"note": "x\n/home/ana/x"}))}, "its array t has a path of a computer in it"),
        ({"at": np.array([b"x", b"nas:/export/lab/x"])}, "its array at has a path of a computer in it"),
        ({"see hooks.example.org/services/T0/B0": NOISE}, "the name of an array has the address of a webhook in it"),
        ({"w": np.array([NOISE], object)}, "it is an archive that is no whole npz file of plain arrays, so it"),
    ],
)
def test_texts_of_an_npz_file_are_looked_through_and_numbers_are_none(
    tmp_path: Path, arrays: dict[str, Any], why: str
) -> None:
    for save in (np.savez, np.savez_compressed):
        with (tmp_path / "x.npz").open("wb") as file:
            save(file, **arrays)
        found = Private(tmp_path / "run", {}).found_in_file(tmp_path / "x.npz", (tmp_path / "x.npz").read_bytes())
        assert found[: len(why) or None] == why


def test_files_that_cannot_be_looked_through_stay(tmp_path: Path) -> None:
    path, private = tmp_path / "x.npz", Private(tmp_path / "run", {})
    np.savez(path, w=NOISE)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("note.txt", "/home/ana/x")
    assert private.found_in_file(path, path.read_bytes()).startswith("it has something besides arrays in it")
    assert private.found_in_file(path, bytes(range(256))).startswith("it is binary and no npz file")
    assert private.found_in_file(path, "# 80 \xb5m".encode("latin-1")) == ""
    assert (
        private.found_in_file(path, "# \xb5m of /home/ana/x".encode("latin-1")) == "it has a path of a computer in it"
    )


def spoken(what: str, said: str) -> Any:
    return lambda die, of: {"smu": said} if of == what else {}


def test_what_instruments_say_and_lot_and_operator_are_looked_through(
    original: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    for what in ("instruments", "calibration"):
        with monkeypatch.context() as patch:
            patch.setattr(SealedDie, "noted", spoken(what, "SMU, kept in /home/ana/smu/"))
            with pytest.raises(BenchError, match="what instruments said of themselves has a path of a computer in it"):
                publish(original, tmp_path / "bundle", "CC0-1.0", About(), "2026-12-01")
    monkeypatch.setattr(crate, "_operator", lambda *_: "//server/share/ana")
    with pytest.raises(BenchError, match="operator, wafer or lot has a path of a computer in it"):
        publish(original, tmp_path / "bundle", "CC0-1.0", About(), "2026-12-01")
    assert list(tmp_path.iterdir()) == []


def test_subsites_share_a_place_on_the_map_and_wafers_have_a_panel_each(tmp_path: Path, monkeypatch: Any) -> None:
    lines = [f"{w},{x},0,0,{x + 10 * k + n}" for k, w in enumerate("AB") for x in (0, 1) for n in range(2)]
    lines += ["A,0,0,1,99", "B,1,0,0,"]
    (script,) = scripts_of([], [Figure("g", "a figure", "a note", on_map=True)], [], 270)
    for folder in ("data", "figures"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "dies.csv").write_text("\n".join(["wafer,x,y,golden,g", *lines]), encoding="utf-8")
    (tmp_path / "figures" / "g.py").write_text(script.text, encoding="utf-8")
    (tmp_path / "figures" / script.beside).write_text(wafer_picture(), encoding="utf-8")
    told: list[list[str]] = []
    save = matplotlib.figure.Figure.savefig

    def saved(figure: Any, *more: Any, **how: Any) -> None:
        told.extend([text.get_text() for text in axis.texts] for axis in figure.axes)
        told.append([text.get_text() for text in figure.texts])
        save(figure, *more, **how)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", saved)
    assert [path.name for path in draw(tmp_path / "figures" / "g.py")] == ["dies_g.png"]
    a, scale, b, same_scale, words = told
    assert a == ["0", "1", "0", "0", "1", "1", "2"]  # columns, row, values
    assert b == ["0", "1", "0", "10", "11", "11", "12", "–"]
    assert scale == same_scale == ["0", "", "12"]
    assert "the notch is at the right" in " ".join(words)


def test_two_pictures_of_one_column_have_a_script_each() -> None:
    one = CellMap("survey", "g_p", "one", "S", 1.0)
    stems = [script.stem for script in scripts_of([Declared(one), Declared(one)], [], ["survey"])]
    assert stems == ["survey_g_p", "survey_g_p_2", "survey_distribution"]


def test_what_cannot_be_published_is_refused_and_nothing_is_left(run: Path, tmp_path: Path) -> None:
    target, about = tmp_path / "out" / "bundle", About()
    target.parent.mkdir()
    with pytest.raises(BenchError, match="no licence is given; expected --licence"):
        publish(run, target, "", about, "2026-12-01")
    with pytest.raises(BenchError, match="what is said of the bundle has the address of a webhook in it"):
        publish(run, target, "CC0-1.0", About(notes="hooks.example.org/services/T0/B0"), "2026-12-01")
    with pytest.raises(FileExistsError, match="never writes over"):
        publish(run, run, "CC0-1.0", about, "2026-12-01")
    sealed = run / "dies" / "A.h5"
    whole = sealed.read_bytes()
    sealed.write_bytes(whole[:-1] + b"x")
    with pytest.raises(StorageError, match=r"A\.h5"):
        publish(run, target, "CC0-1.0", about, "2026-12-01")
    sealed.write_bytes(whole)
    with Runlog.open(run) as log:
        log.write(Resumed())
    with pytest.raises(BenchError, match=r"has not ended: .* labctl resume"):
        publish(run, target, "CC0-1.0", about, "2026-12-01")
    assert list(target.parent.iterdir()) == []
    assert recorded_digests(run)


def spoilt(bundle: Path, how: str) -> None:
    crate = json.loads((bundle / NAME).read_text(encoding="utf-8"))
    entities = {one["@id"]: one for one in crate["@graph"]}
    match how:
        case "another byte":
            (bundle / "data" / "dies.csv").write_bytes((bundle / "data" / "dies.csv").read_bytes() + b"\n")
        case "a file is gone":
            (bundle / "README.md").unlink()
        case "a file more":
            (bundle / "more.txt").write_text("x", encoding="utf-8")
        case "no licence":
            del entities["./"]["license"]
        case "points nowhere":
            entities["#run"]["agent"] = {"@id": "#nobody"}
        case "another version":
            entities[NAME]["conformsTo"] = {"@id": "https://w3id.org/ro/crate/1.0"}
        case "no part":
            entities["./"]["hasPart"].pop()
        case "no graph":
            crate = []
    (bundle / NAME).write_text(json.dumps(crate), encoding="utf-8")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("another byte", "data/dies.csv is not the file that is described"),
        ("a file is gone", "README.md is described and not there"),
        ("a file more", "more.txt is not described"),
        ("no licence", "the root data set has no license"),
        ("points nowhere", "agent of #run is #nobody, which is not described"),
        ("another version", "does not describe ./ by https://w3id.org/ro/crate/1.1"),
        ("no part", "is described and is no part of the root"),
        ("no graph", "is not there, or no graph"),
    ],
)
def test_a_bundle_that_is_not_as_described_is_told(bundle: Path, tmp_path: Path, how: str, said: str) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    spoilt(copy, how)
    assert any(said in problem for problem in problems(copy))


def test_the_command_writes_the_same_bytes_of_the_same_run_and_date(run: Path, bundle: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    command.register(app)
    (tmp_path / "about.yaml").write_text(yaml.safe_dump(ABOUT), encoding="utf-8")
    words = [str(run), "--out", str(tmp_path / "b.zip"), "--about", str(tmp_path / "about.yaml"), "--json"]
    words += ["--date", "2026-12-01"]
    done = CliRunner().invoke(app, words)
    assert json.loads(done.stdout)["files"] == [name for name, _ in contents(tmp_path / "b.zip")]
    assert dict(contents(tmp_path / "b.zip")) == dict(contents(bundle))  # of a copy of the run, to the byte
    for more, said in (
        (["--licence", "CC0-1.0"], "expected one licence"),
        (["--date", "tomorrow"], "expected a day such as 2026-12-01"),
        ([], "never writes over anything"),
    ):
        refused = CliRunner().invoke(app, [*words, *more])
        assert isinstance(refused.exception, BenchError)
        assert said in str(refused.exception)


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[4] / "docs" / "publishing.md").read_text(encoding="utf-8")
    (tmp_path / "about.yaml").write_text(text.split("<!-- about -->\n```yaml\n")[1].split("```")[0], encoding="utf-8")
    about = load(tmp_path / "about.yaml", About)
    assert set(About.model_fields) == {name for name, value in about if value}
    for name in ("labctl publish runs/first --out first-bundle", "`figures/*.py`", "`dictionary.csv`"):
        assert name in text


def test_a_script_draws_curves_that_a_protocol_declares_and_says_why_it_cannot(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    curve = Curves("attempt", "voltage", "conductance", 'G "after" V', "V, mV", "G, uS", 1e3, 1e6, by=("kernel", "row"))
    (script,) = scripts_of([Declared(curve)], [], ["attempt"])
    path = copy / "figures" / f"{script.stem}.py"
    path.write_text(script.text, encoding="utf-8")
    assert [one.name for one in draw(path)] == [f"{script.stem}.A.png", f"{script.stem}.B.png"]
    path.write_text("raise ValueError('no')", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot draw: ValueError: no"):
        draw(path)
