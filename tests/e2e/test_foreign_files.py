"""Files of other programs at every door: each is refused with 2, and called what it is."""

import shutil

import pytest

from tests import small_run
from tests.foreign_files import files

FILES = files()
QUICK = ("TOML", "Markdown", "UTF-16-LE", "PDF", "blanks")
CAMPAIGN = """name: c
{subjects}
limits: {{v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,
         pulses_per_cell: 1000}}
stages: [{stage}]
"""
DIES = "dies: [{name: A, file: die.yaml}]"
WAFER = "wafer: {file: wafer.yaml, die: die.yaml}"


@pytest.fixture
def desk(tmp_path):
    """A folder with a die, a wafer, a map, and a function that writes the campaign of them."""
    (tmp_path / "die.yaml").write_text("name: s\ngeometry: {n_rows: 3, n_cols: 2}\njunction: {diameter: 80 nm}\n")
    (tmp_path / "wafer.yaml").write_text("name: W1\nmap_file: map.csv\n")
    (tmp_path / "map.csv").write_text("x,y\n1,0\n0,1\n")
    return tmp_path


@pytest.mark.parametrize(
    "label", [label if label in QUICK else pytest.param(label, marks=pytest.mark.slow) for label in FILES]
)
def test_every_door_calls_a_file_what_it_is(desk, labctl, label):
    content, name = FILES[label]
    foreign = desk / "foreign.yaml"
    foreign.write_bytes(content)
    campaign = desk / "campaign.yaml"
    survey = "survey: {}"

    def refused(*words):
        done = labctl(*words, expect=2)
        assert str(foreign) in done.stderr
        assert name in done.stderr, done.stderr
        assert len(done.stderr) < 1000

    refused("plan", foreign)
    refused("check", foreign)
    refused("train", foreign, "--out", desk / "out.npz")
    for change in ({"die.yaml": "foreign.yaml"}, {"wafer.yaml": "foreign.yaml"}):
        subjects = WAFER if "wafer.yaml" in change else DIES
        for old, new in change.items():
            subjects = subjects.replace(old, new)
        campaign.write_text(CAMPAIGN.format(subjects=subjects, stage=survey))
        refused("plan", campaign)
    (desk / "wafer.yaml").write_text("name: W1\nmap_file: foreign.yaml\n")
    campaign.write_text(CAMPAIGN.format(subjects=WAFER, stage=survey))
    refused("plan", campaign)
    if label != "npz":
        network = "network: {solutions: foreign.yaml, data: wine, placement: [{kernel: 0, row: 0, col: 0}]}"
        campaign.write_text(CAMPAIGN.format(subjects=DIES, stage=network))
        refused("plan", campaign)
    refused("show", foreign)
    shutil.copy(foreign, desk / "p.h5")
    assert name in labctl("show", desk / "p.h5", expect=2).stderr


def test_what_is_at_the_path_of_a_run_is_said(tmp_path, labctl):
    run = small_run.write_run(tmp_path / "run")
    shutil.copy(run / "run.h5", tmp_path / "run.h5")
    shutil.copy(run / "dies" / "A.h5", tmp_path / "lone.hdf5")
    shutil.copytree(run / "dies" / "A", tmp_path / "journal")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.h5").write_bytes((run / "dies" / "A.h5").read_bytes()[:20000])
    for path, words in {
        tmp_path / "run.h5": "it is the summary of a run (run.h5), without its dies",
        tmp_path / "journal": "it is the journal of a die",
        tmp_path / "empty": "it is an empty folder",
        tmp_path / "nowhere": "no such file or folder",
        tmp_path: "it is a folder of 1 run: run",
        run / "dies": "it is a folder of the run",
        run / "dies" / "A": "it is a folder of the run",
        run / "journal.db": "it is a file of the run",
    }.items():
        for command in (["show"], ["report"], ["export", "--csv", tmp_path / "csv"], ["verify"], ["stop"], ["resume"]):
            done = labctl(command[0], path, *command[1:], expect=2)
            assert f"{path}: there is no run here; expected a run folder" in done.stderr
            assert f"; {words}" in done.stderr, (command, done.stderr)
    assert (
        "the sealed file of the die A, which 'labctl show' opens"
        in labctl("report", tmp_path / "lone.hdf5", expect=2).stderr
    )
    assert "A" in labctl("show", tmp_path / "lone.hdf5").stdout
    assert "cut off" in labctl("show", tmp_path / "cut.h5", expect=5).stderr
