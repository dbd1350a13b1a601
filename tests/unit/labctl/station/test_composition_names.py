"""One rule for names that become files, at every door, seen already in the plan."""

import re
from pathlib import Path

import pytest

from labctl.core.errors import BenchError
from labctl.core.names import file_name, new_path
from labctl.core.record import Record
from labctl.files import names_of
from labctl.station import composition, plugins

LIMITS = "{v_towards_p: 1 V, v_towards_ap: 1 V, width: 1 ms, compliance: 1 mA, v_count: 0.3 V, pulses_per_cell: 9}"
EXAMPLES = Path(__file__).parents[4] / "examples"
WAFER = "wafer: {file: wafer.yaml, die: die.yaml}"
DOORS = {
    "campaign": ("@", "dies: [{name: D, file: die.yaml}]", ""),
    "die": ("c", "dies: [{name: @, file: die.yaml}]", ""),
    "subsite": ("c", "dies: [{name: D, file: die.yaml, subsites: [{name: @, x: 0 um, y: 0 um}]}]", ""),
    "wafer": ("c", WAFER, "name: @\nmap: [XX]\n"),
    "listed": ("c", WAFER, "name: W\ndies: {@: [0, 0]}\n"),
    "map": ("c", WAFER, "name: W\nmap_file: map.csv\n"),
}
NAMES = (
    *(
        "../../escaped",
        "/etc/evil",
        "a/b",
        "a\\b",
        "C:a",
        "..",
        "CON",
        "con.txt",
        "lpt9",
        "aux.0",
        "a.",
        "summary",
        "Summary",
    ),
    *(
        "x.h5",
        "x.H5",
        "a.part",
        "W 01",
        "gr\u00f6\u00dfe",
        "gro\u0308\u00dfe",
        "\U0001f642",
        "a" * 65,
        "-a",
        ".a",
        "~2",
    ),
)


def files(folder: Path, door: str, name: str) -> Path:
    """Write a campaign with a name at one of its doors."""
    named, dies, wafer = (text.replace("@", f'"{name}"'.replace("\\", "\\\\")) for text in DOORS[door])
    (folder / "die.yaml").write_bytes((EXAMPLES / "dies/passive-15x15.yaml").read_bytes())
    (folder / "wafer.yaml").write_text(wafer, encoding="utf-8")
    (folder / "map.csv").write_text(f'x,y,name\n0,0,"{name}"\n', encoding="utf-8")
    path = folder / "campaign.yaml"
    path.write_text(f"name: {named}\n{dies}\nlimits: {LIMITS}\nstages: [{{survey: {{}}}}]\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("door", DOORS)
def test_every_door_has_the_same_rule(tmp_path: Path, door: str) -> None:
    assert composition.read(files(tmp_path, door, "A-1.b_2")).subjects
    for name in NAMES:
        with pytest.raises(BenchError, match=r"(campaign|wafer|map)\.(yaml|csv):\d.*expected") as refused:
            composition.read(files(tmp_path, door, name))
        assert refused.value.exit_code == 2


def test_names_that_differ_in_case_only_are_one_name(tmp_path: Path) -> None:
    for dies, wafer in (
        ("dies: [{name: D1, file: die.yaml}, {name: d1, file: die.yaml}]", ""),
        ("dies: [{name: D, file: die.yaml, subsites: [{name: a, x: 0 m, y: 0 m}, {name: A, x: 0 m, y: 0 m}]}]", ""),
        ("dies: [{name: D-a, file: die.yaml}, {name: D, file: die.yaml, subsites: [{name: A, x: 0 m, y: 0 m}]}]", ""),
        (WAFER, "name: W\ndies: {a: [0, 0], A: [1, 0]}\n"),
    ):
        path = files(tmp_path, "campaign", "c")
        (tmp_path / "wafer.yaml").write_text(wafer)
        path.write_text(f"name: c\n{dies}\nlimits: {LIMITS}\nstages: [{{survey: {{}}}}]\n")
        with pytest.raises(BenchError, match="expected a name of its own"):
            composition.read(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\x1b[2Jb", r"the control character U\+001B in"),
        ("a\u202eb", r"the character U\+202E \(right-to-left override\)"),
        ("\udce9", "half a character"),
        ("a\nb", r"the control character U\+000A"),
        ("what?", r"found '\?' in 'what\?'"),
        ("10:30", "found ':' in '10:30'"),
        ("runs.", "ends with '.', expected a name that Windows can store, too"),
        ("runs ", "ends with ' '"),
        ("con", "the name of a device on Windows"),
        ("NUL.d", "the name of a device on Windows"),
        ("\u00fc" * 126, "a name of 252 bytes, expected 250 at most"),
    ],
)
def test_a_path_that_is_made_is_a_name_on_every_system(tmp_path: Path, name: str, words: str) -> None:
    assert new_path(tmp_path / "gr\u00f6\u00dfe 7" / "run") == tmp_path / "gr\u00f6\u00dfe 7" / "run"
    for path in (tmp_path / name, tmp_path / name / "inside"):
        with pytest.raises(BenchError, match=words):
            new_path(path)


def test_what_is_there_already_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "10:30").mkdir()
    assert new_path(tmp_path / "10:30" / "run").name == "run"


def test_copies_of_files_have_names_that_every_system_stores() -> None:
    paths = [Path("a/campaign.yaml"), Path("b/\udce9 \x1b.yaml"), Path("x" * 255), Path("con"), Path("a/n.")]
    names = list(names_of(dict.fromkeys(paths, b"")).values())
    assert names[:2] == ["00-campaign.yaml", "01-___.yaml"]
    assert [file_name(name) for name in names if len(name) <= 64]
    assert all(name.isascii() and len(name) < 70 for name in names)


def test_a_protocol_or_a_table_of_a_stranger_has_such_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"found '../x'.*files are named after it"):
        type("Odd", (Record,), {"table": "../x"})
    odd = plugins.Plugin(plugins.PROTOCOLS, "a/b", "protocols.survey:Survey", "lab-odd", "1.0")
    before = plugins.plugins.registered
    more = {plugins.PROTOCOLS: [odd]}
    monkeypatch.setattr(plugins.plugins, "registered", lambda group: (*before(group), *more.get(group, [])))
    kinds, broken = plugins._protocols.__wrapped__()
    assert "survey" in kinds
    assert re.search(r"the name of a protocol of .*found 'a/b'", broken["a/b"])
