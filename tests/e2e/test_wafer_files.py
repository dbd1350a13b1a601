"""Wafer files and maps through the command line: what is no map and no name is refused, bytes are kept as they are."""

import hashlib
import json

import pytest

from labctl.core.die_state import State
from labctl.core.errors import BenchError
from labctl.export.bins import write_bins
from labctl.export.stdf import stdf
from labctl.station import composition
from labctl.storage.run_log import DieState, RunState, Try, read_state
from labctl.wafer_maps.model import MapReading
from labctl.wafer_maps.read import read_map
from tests.e2e.conftest import EXAMPLES

BOM = b"\xef\xbb\xbf"
G85 = """<?xml version="1.0" encoding="utf-8"?>
<Map xmlns="http://www.semi.org" SubstrateId="W07"><Device BinType="Ascii" NullBin="." Rows="2" Columns="3">
<Data><Row>.17</Row><Row>1..</Row></Data></Device></Map>
"""
CSV = "X_COORD,Y_COORD,HBIN\n4,7,1\n5,7,1\n4,8,2\n"


@pytest.fixture
def lot(tmp_path, few_solutions):
    """Write a campaign over a wafer and return its path; `wafer` is the wafer file, `files` lie beside it."""

    def write(wafer, more="", *, mark=b"", **files):
        for name, content in files.items():
            path = tmp_path / name.replace("_", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        text, _, _ = (EXAMPLES / "wine-passive.yaml").read_text().partition("dies:\n")
        stages = (EXAMPLES / "wine-passive.yaml").read_text().partition("\n\nlimits")[2]
        die = json.dumps(str(EXAMPLES / "dies/passive-15x15.yaml"))
        stages = stages.replace("wine-solutions.npz", str(few_solutions))
        campaign = f"{text}wafer: {{file: wafer.yaml, die: {die}{more}}}\n\nlimits{stages}"
        (tmp_path / "wafer.yaml").write_bytes(mark + wafer.encode())
        (tmp_path / "lot.yaml").write_bytes(mark + campaign.encode())
        return tmp_path / "lot.yaml"

    return write


FOREIGN = {
    "our own drawing": (".XX.\nXXXX\nXXXX\n.XX.\n", ":1: found '.XX.', a drawing without separators"),
    "STDF": (b"\x02\x00\x00\x0a\x02\x04", ": found an STDF file, expected a wafer map as SEMI G85 or E142 XML"),
    "letters over numbers": ("C,R,B\n4,7,1\n5,7,1\n4,8,\n", ":2: found '4' in a grid with 'C', expected one mark"),
    "UTF-16": (
        CSV.encode("utf-16"),
        ":1: found a text in UTF-16, expected a wafer map as SEMI G85 or E142 XML, or as CSV",
    ),
    "XML in another encoding than it says": (
        G85.encode("utf-16"),
        ":1: found XML that says 'utf-8' and is in UTF-16-LE; expected one of both",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_of_another_format_is_refused_and_never_read_as_a_grid(lot, labctl, tmp_path, what):
    content, words = FOREIGN[what]
    campaign = lot("name: W01\nmap_file: lot.map\n", lot_map=content)
    for command in (["plan", campaign], ["run", campaign, "--out", tmp_path / "run"])[: 2 if "our own" in what else 1]:
        said = labctl(*command, expect=2).stderr
        assert f"{tmp_path / 'lot.map'}{words}" in said
        assert "expected" in said
    assert not (tmp_path / "run").exists()


def test_plan_draws_the_map_that_it_understood(lot, labctl):
    drawn = labctl("plan", lot("name: W01\nmap_file: lot.map\n", ", exclude_bins: [2]", lot_map=CSV)).stdout
    assert (
        "lot.map (CSV table): 3 dies, 2 x 2, x 4 to 5, y 7 to 8, 1 left out; bin 1: 2, bin 2: 1; the notch is not known"
        "\n  o is left out\n  11\n  o.\n"
    ) in drawn
    fiducial = "fiducials: [{at: x1y1, expect: no contact}]\n"
    drawn = labctl("plan", lot(f"name: W07\nmap_file: lot.map\n{fiducial}", lot_map=G85)).stdout
    assert (
        "lot.map (SEMI G85): 3 dies, 3 x 2, x 0 to 2, y 0 to 1; bin 1: 2, bin 7: 1; the notch is not known; wafer W07\n"
        "  + is fiducial\n  .17\n  1+.\n"
    ) in drawn
    assert "map " not in labctl("plan", lot("name: W01\nmap: [.XX]\n")).stdout


def test_the_map_of_another_wafer_is_told_and_a_bench_refuses_it_unless_it_is_accepted_by_name(lot, labctl, tmp_path):
    lots = G85.replace("<Device ", '<Device LotId="L3" ')
    where = f"{tmp_path / 'wafer.yaml'}:2: map_file: the map is of wafer 'W07' and the wafer file says name: W99"
    bench = EXAMPLES / "bench-two-arrays.yaml"
    other = "name: W99\nmap_file: lot.map\nlot: L4\n"
    warned = labctl("plan", lot(other, lot_map=lots)).stdout
    assert f"warning: {where}" in warned
    assert "the map is of lot 'L3' and the wafer file says lot: L4" in warned
    spec = composition.read(lot(other, lot_map=lots), bench=bench, sim="bytes")
    assert [key for key, _ in spec.layout.conflicts] == ["wafer", "lot"]
    assert (spec.layout.wafer_id, spec.layout.lot) == ("W99", "L4")
    run = ["run", lot(other, lot_map=lots), "--bench", bench, "--out", tmp_path / "run"]
    refused = labctl(*run, expect=2).stderr
    assert where in refused
    assert "map_reading: {lot: 'L3'}" in refused
    assert not (tmp_path / "run").exists()
    accepted = f"{other}map_reading: {{wafer: W07, lot: L3}}\n"
    spec = composition.read(lot(accepted, lot_map=lots), bench=bench)
    assert (spec.layout.wafer_id, spec.layout.lot, spec.layout.conflicts) == ("W07", "L3", ())
    with pytest.raises(BenchError, match=r"wafer.yaml:4: map_reading.wafer: found 'W08', and the map .* names 'W07'"):
        composition.read(lot(accepted.replace("W07", "W08"), lot_map=lots), bench=bench)
    for same in ("name: w07\n", "name: L3-W07\nlot: l3\n"):
        assert composition.read(lot(f"{same}map_file: lot.map\n", lot_map=lots), bench=bench).layout.conflicts == ()


def test_a_setting_that_does_not_apply_is_refused_where_it_stands(lot):
    with pytest.raises(
        BenchError, match=r"wafer.yaml:4: map_reading.first: found 'first', which does not apply to a CSV"
    ):
        composition.read(lot("name: W07\nmap_file: lot.map\nmap_reading:\n  first: 0\n", lot_map=CSV))
    with pytest.raises(BenchError, match="'map_reading' is about a 'map_file', and there is none"):
        composition.read(lot("name: W07\nmap: [X]\nmap_reading: {notch: 0}\n"))


def test_places_lot_orientation_and_dies_not_run_come_back_from_a_run(lot, tmp_path):
    marked = G85.replace("<Device ", '<Device LotId="L3" Orientation="90" OriginLocation="2" ').replace(
        "<Data>", '<ReferenceDevice ReferenceDeviceX="1" ReferenceDeviceY="2"/><Data>'
    )
    wafer = "name: L3-W07\nmap_file: lot.map\nmap_reading: {notch: 180, reference: [-5, 9]}\n"
    spec = composition.read(lot(wafer, ", exclude_bins: [7], only: [L3-W07-x-5y9, L3-W07-x-4y11]", lot_map=marked))
    meta = json.loads(json.dumps(spec.to_json()))
    tries = (Try(1, State.DONE, 0.0, 1.0, bin="good", hard=1),)
    done = {s.name: DieState(s.name, s.at, tries if s.at == (-5, 9) else ()) for s in (*spec.subjects, *spec.skipped)}
    state = RunState(meta, done)
    write_bins(state, tmp_path / "out.xml")
    first = read_map((tmp_path / "lot.map").read_bytes(), MapReading(notch=180, reference=(-5, 9)))
    again = read_map((tmp_path / "out.xml").read_bytes())
    assert [(p.x, p.y) for p in again.places] == [(p.x, p.y) for p in first.places] == [(-5, 9), (-4, 10), (-4, 11)]
    assert [p.bin for p in again.places] == ["1", "254", "254"]
    assert (again.wafer, again.lot, again.notch, again.reference) == ("W07", "L3", 180, (-5, 9))
    # the next wafer file needs no settings, and the next run is on the same places
    assert "L3" in b"".join(stdf(state)).decode("latin-1")
    (tmp_path / "again.xml").write_bytes((tmp_path / "out.xml").read_bytes())
    next_spec = composition.read(lot("name: L3-W07\nmap_file: again.xml\n"))
    assert [s.at for s in next_spec.subjects] == [(-5, 9), (-4, 10), (-4, 11)]
    assert next_spec.to_json()["wafer_map"]["notch"] == 180


def test_the_notch_of_a_drawn_map_is_that_of_the_wafer_file_and_a_map_is_not_contradicted(lot):
    assert composition.read(lot("name: W1\nmap: [.X, XX]\nnotch: 270\n")).to_json()["wafer_map"]["notch"] == 270
    turned = G85.replace("<Device ", '<Device Orientation="90" ')
    same = "name: W07\nmap_file: lot.map\nnotch: 90\n"
    assert composition.read(lot(same, lot_map=turned)).to_json()["wafer_map"]["notch"] == 90
    with pytest.raises(BenchError, match=r"wafer.yaml:3: notch: found 180, and the map has its notch at 90 degrees"):
        composition.read(lot(same.replace("notch: 90", "notch: 180"), lot_map=turned))


@pytest.mark.slow
def test_a_run_that_its_bench_refuses_has_a_folder_and_is_stopped_not_refused(lot, labctl, tmp_path):
    wrong = lot("name: W01\nmap: [XX]\nfiducials: [{at: x0y0, expect: no contact}]\n")
    bench, run = ["--bench", EXAMPLES / "bench-two-arrays.yaml", "--sim", "bytes"], tmp_path / "run"
    said = labctl("run", wrong, *bench, "--out", run, expect=3).stderr
    assert "labctl: the wafer is not as its map says: at x0y0 " in said
    state = read_state(run)
    assert (state.outcome, state.exit_code) == ("abort", 3)
    assert state.reason.startswith("the wafer is not as its map says")


RULE = "expected 1 to 64 ASCII letters, digits, '_', '-' or '.', the first a letter or digit"


@pytest.mark.parametrize(
    ("wafer", "where"),
    [
        ('name: "../../../escaped"\nmap: [X]\n', "wafer.yaml:1: name: found '../../../escaped', "),
        ("name: LOT42/07\nmap: [X]\n", "wafer.yaml:1: name: found 'LOT42/07', "),
        ("name: W 01\nmap: [X]\n", "wafer.yaml:1: name: found 'W 01', "),
        ('name: W01\ndies: {"/../../../../esc2": [0, 0]}\n', "wafer.yaml:2: dies./../../../../esc2: found '/../../"),
        ('name: W01\ndies:\n  A: [0, 0]\n  "../B": [1, 0]\n', "wafer.yaml:4: dies.../B: found '../B', "),
        ("name: LOT42/07\nmap_file: lot.map\n", "wafer.yaml:1: name: found 'LOT42/07', "),
        (
            f"name: {'W' * 62}\nmap: [X]\n",
            f"wafer.yaml:1: name: a die would be called after it: found '{'W' * 62}-x0y0'",
        ),
    ],
)
def test_names_that_would_leave_the_run_folder_are_refused_where_they_stand(lot, labctl, tmp_path, wafer, where):
    campaign = lot(wafer, lot_map=CSV)
    said = labctl("run", campaign, "--out", tmp_path / "a" / "run", expect=2).stderr
    assert where in said
    assert RULE in said
    assert not (tmp_path / "a").exists()
    assert not [path for name in ("*escaped*", "*esc2*") for path in tmp_path.parent.rglob(name)]


def test_every_other_door_for_a_name_is_shut_too(lot, labctl, tmp_path):
    subsites = ", subsites: [{name: ../s, x: 0 um, y: 0 um}]"
    assert "lot.yaml:" in (said := labctl("plan", lot("name: W01\nmap: [X]\n", subsites), expect=2).stderr)
    assert f"wafer.subsites.0.name: found '../s', {RULE}" in said
    long = f", subsites: [{{name: {'s' * 60}, x: 0 um, y: 0 um}}]"
    assert f"found 'W01-x0y0-{'s' * 60}', {RULE}" in labctl("plan", lot("name: W01\nmap: [X]\n", long), expect=2).stderr
    named = lot("name: W01\nmap_file: lot.map\n", lot_map="x,y,name\n0,0,A\n1,0,../B\n")
    assert f"lot.map:3: name: found '../B', {RULE}" in labctl("plan", named, expect=2).stderr
    plain = lot("name: W01\nmap: [X]\n")
    out = ["--out", tmp_path / "run"]
    assert "there is no die ../W01-x0y0" in labctl("run", plain, *out, "--only", "../W01-x0y0", expect=2).stderr
    golden = ["--set", "batch.golden={die: ../W01-x0y0, every: 4, drift: {r_p: 3 %}}"]
    said = labctl("run", plain, *out, *golden, expect=2).stderr
    assert "batch.golden.die: found '../W01-x0y0', and there is no such die" in said
    only = lot("name: W01\nmap: [X]\n", ", only: [../W01-x0y0]")
    assert "die ../W01-x0y0 is not on wafer W01" in labctl("run", only, *out, expect=2).stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("content", [G85, CSV], ids=["XML", "CSV"])
def test_a_run_whose_files_begin_with_a_byte_order_mark_goes_on(lot, labctl, tmp_path, content):
    raw = BOM + content.replace("\n", "\r\n").encode()
    campaign = lot("name: W01\nmap_file: lot.map\n", mark=BOM, lot_map=raw)
    run = tmp_path / "run"
    # a rule ends the run after each die
    rules = ["--set", "bins=[{bin: any, hard: 9, when: good > 0 %}]", "--set", "batch.stop.low_yield.after=1"]
    labctl(
        "run", campaign, "--out", run, "--workers", "1", "--set", "batch.stop.low_yield.below=50 %", *rules, expect=3
    )
    said = json.loads((run / "run.json").read_text())["files"]
    copies = {path.name.partition("-")[2]: path for path in (run / "files").iterdir()}
    for original in (campaign, tmp_path / "wafer.yaml", tmp_path / "lot.map"):
        copy = copies[original.name]
        assert copy.read_bytes() == original.read_bytes()
        assert copy.read_bytes().startswith(BOM)
        assert said[copy.name]["sha256"] == hashlib.sha256(original.read_bytes()).hexdigest()
    (tmp_path / "lot.map").write_bytes(raw.removeprefix(BOM))
    assert "lot.map has changed" in labctl("resume", run, expect=2).stderr
    (tmp_path / "lot.map").write_bytes(raw)
    labctl("resume", run, "--workers", "1", expect=3)
    labctl("resume", run, "--workers", "1", expect=3)
    assert [die.state for die in read_state(run).subjects] == [State.DONE] * 3
