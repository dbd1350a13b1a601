"""Wafer files and maps through the command line: what is no map and no name is refused, bytes are kept as they are."""

import hashlib
import json

import pytest

from labctl.core.die_state import State
from labctl.storage.run_log import read_state
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
    "an STDF export": ("PART_ID,HEAD,SITE,X,Y,HARD_BIN,SOFT_BIN\n1,1,0,4,7,1,1\n", ":1: found a column 'PART_ID'"),
    "another heading": ("XX,YY,HBIN\n4,7,1\n", ":1: found the heading 'XX,YY,HBIN', expected one with x and y"),
    "ASCII G85": ('WAFER_MAP = {\nWAFER_ID = "W1"\nMAP = {\n1 1 .\n}\n}\n', ":1: found 'WAFER_MAP = {', expected"),
    "our own drawing": (".XX.\nXXXX\nXXXX\n.XX.\n", ":1: found '.XX.', expected a heading with x and y"),
    "KLARF": ("FileVersion 1 2;\nSampleSize 1 200;\nDiePitch 1e3 1e3;\n", ":1: found 'FileVersion 1 2;', expected"),
    "E142": (
        '<?xml version="1.0"?>\n<MapData xmlns="urn:semi-org:xsd.E142-1.V1005.SubstrateMap"><SubstrateMaps/></MapData>',
        ":1: found XML of MapData with 0 Map and 0 Device, expected a SEMI G85 map",
    ),
    "binary": (b"\x02\x00\x00\x0a\x02\x04", ":1: found the character U+0002, expected a text file"),
    "binary that is no UTF-8": (b"\x89HDF\r\n\x1a\n", ":1: found the byte 0x89, expected a map as CSV in UTF-8"),
    "empty": ("", ":1: the map is empty; expected columns x and y, or a grid of marks"),
    "HTML": ("<!DOCTYPE html>\n<html><body>404</body></html>\n", ": found the document type (DTD) of html, expected"),
    "JSON": ('{"dies": [{"x": 0, "y": 0}, {"x": 1, "y": 0}]}\n', ":1: found '{"),
    "letters over numbers": ("C,R,B\n4,7,1\n5,7,1\n4,8,\n", ":2: found '4' in a grid with 'C', expected one mark"),
    "a table without a heading": (
        ".,4,7\n.,5,7\n.,4,8\n",
        ":1: found bin codes and no place without a die, expected a wafer",
    ),
    "an unknown encoding": (
        '<?xml version="1.0" encoding="gb2312"?>\n<Map/>',
        ":1: found XML that cannot be read: multi-byte encodings are not supported",
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_xml_that_says_utf_16_is_read(lot, labctl, encoding):
    content = G85.replace("utf-8", "utf-16").encode(encoding)
    drawn = labctl("plan", lot("name: W01\nmap_file: lot.map\n", lot_map=content)).stdout
    assert "lot.map: 3 dies" in drawn


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CSV.encode("utf-16"), "found a text in UTF-16, expected a map as CSV in UTF-8 or as SEMI G85 XML"),
        (CSV.encode("utf-32"), "found a text in UTF-32, expected a map as CSV in UTF-8 or as SEMI G85 XML"),
        (G85.encode("utf-32"), "found a text in UTF-32, expected a map as CSV in UTF-8 or as SEMI G85 XML"),
        (G85.encode("utf-16"), "found no XML: encoding specified in XML declaration is incorrect"),
    ],
)
def test_what_is_in_another_encoding_is_refused_by_its_encoding(lot, labctl, tmp_path, content, words):
    refused = labctl("plan", lot("name: W01\nmap_file: lot.map\n", lot_map=content), expect=2).stderr
    assert f"{tmp_path / 'lot.map'}:1: {words}" in refused
    assert "byte 0x" not in refused


def test_plan_draws_the_map_that_it_understood(lot, labctl):
    drawn = labctl("plan", lot("name: W01\nmap_file: lot.map\n", ", exclude_bins: [2]", lot_map=CSV)).stdout
    assert "lot.map: 3 dies, x 4 to 5, y 7 to 8, 1 left out; bin 1: 2, bin 2: 1\n  XX\n  o.\n" in drawn
    drawn = labctl("plan", lot("name: W01\nmap_file: lot.map\n", lot_map=G85)).stdout
    assert "lot.map: 3 dies, x 0 to 2, y 0 to 1; bin 1: 2, bin 7: 1; wafer W07\n  .XX\n  X..\n" in drawn
    assert "map " not in labctl("plan", lot("name: W01\nmap: [.XX]\n")).stdout


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
    assert "there is no die ../W01-x0y0" in labctl("run", plain, *out, *golden, expect=2).stderr
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
