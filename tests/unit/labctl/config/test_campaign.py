"""What a campaign file may say, and how it is told what it may not."""

from pathlib import Path

import pytest

from labctl import files
from labctl.config.campaign import Accept, Campaign, OneStage
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import Volt
from sim_backend.description import DieDescription


class Gentle(Model):
    v_read: Volt = 0.1
    rounds: int = 3


class Strict(Model):
    v_max: Volt


class Stage(OneStage):
    gentle: Gentle | None = None
    strict: Strict | None = None


class File(Campaign):
    stages: tuple[Stage, ...]


DIE = "name: a\ngeometry: {n_rows: 2, n_cols: 3}\njunction: {diameter: 80 nm}\nsimulation:\n  spread: {ra: 2 %}\n"
TEXT = """name: night
dies:
  - name: D80
    file: die.yaml
    change:
      junction:
        diameter: 55 nm
limits: {v_towards_p: 1 V, v_towards_ap: 1 V, width: 1 ms, compliance: 1 mA, v_count: 300 mV, pulses_per_cell: 99}
stages:
  - gentle:
"""


def write(folder: Path, text: str = TEXT) -> Path:
    (folder / "die.yaml").write_text(DIE, encoding="utf-8")
    (folder / "night.yaml").write_text(text, encoding="utf-8")
    return folder / "night.yaml"


def refusal(folder: Path, old: str, new: str) -> str:
    with pytest.raises(BenchError) as caught:
        files.read(write(folder, TEXT.replace(old, new)), File)
    return str(caught.value)


def test_a_stage_with_nothing_said_has_all_defaults(tmp_path: Path) -> None:
    for message in ("gentle:", "gentle: {}", "gentle: ~"):
        loaded_file = files.load(write(tmp_path, TEXT.replace("gentle:", message)), File)
        assert loaded_file.stages[0].procedure() == ("gentle", Gentle())


def test_a_stage_with_nothing_said_still_needs_what_has_no_default(tmp_path: Path) -> None:
    assert "stages.0.strict: the key 'v_max' is missing" in refusal(tmp_path, "gentle:", "strict:")


def test_a_stage_stays_strict_below(tmp_path: Path) -> None:
    message = refusal(tmp_path, "gentle:", "gentle: {rounds: '3'}")
    assert "stages.0.gentle.rounds: found '3', expected a whole number" in message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../../evil", "letters, digits"),
        ("''", "1 to 64"),
        ("a" * 65, "1 to 64"),
        ("-a", "the first a letter or digit"),
        ("CON", "device"),
        ("nul.1", "device"),
        ("Lpt9", "device"),
        ("D80.", "point"),
        ("D80.h5", "already"),
        ("summary", "already"),
    ],
)
def test_a_die_is_called_what_every_system_can_store(tmp_path: Path, name: str, says: str) -> None:
    message = refusal(tmp_path, "name: D80", f"name: {name}")
    assert "night.yaml:3: dies.0.name: " in message
    assert says in message
    assert "pattern" not in message


@pytest.mark.parametrize("name", ["D80", "W3_x-1.y2", "9", "COM", "console", "nullable.1"])
def test_plain_names_are_names(tmp_path: Path, name: str) -> None:
    assert files.load(write(tmp_path, TEXT.replace("name: D80", f"name: '{name}'")), File).dies[0].name == name


@pytest.mark.parametrize(
    ("number", "hint"),
    [("98", "expected at most 100 %; did you mean 98 %?"), ("98.5", "did you mean 98.5 %?"), ("120", "at most 100 %")],
)
def test_percent_without_its_sign_is_guessed_aloud(tmp_path: Path, number: str, hint: str) -> None:
    message = refusal(tmp_path, "stages:", f"accept: {{fidelity: {number}}}\nstages:")
    assert f"accept.fidelity: found {number}, " in message
    assert hint in message
    assert ("did you mean" in message) == (number != "120")
    assert files.load(write(tmp_path, TEXT.replace("stages:", "accept: {fidelity: 98 %}\nstages:")), File).accept == (
        Accept(fidelity=0.98)
    )


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        ("diameter: 55", 7, "dies.0.change.junction.diameter: "),
        ("diameter: 55 mm", 7, "dies.0.change.junction.diameter: found '55 mm', expected at most 100 um"),
        ("diametr: 55 nm", 7, "dies.0.change.junction.diametr: found the unknown key"),
        ("{diameter: [55 nm]}", 7, "dies.0.change.junction.diameter: found a list"),
    ],
)
def test_what_is_wrong_in_a_change_is_named_where_it_stands(tmp_path: Path, change: str, line: int, says: str) -> None:
    loaded = files.read(write(tmp_path, TEXT.replace("diameter: 55 nm", change)), File)
    with pytest.raises(BenchError) as caught:
        files.read(tmp_path / "die.yaml", DieDescription, change=loaded.part("dies", 0, "change"))
    message = str(caught.value)
    assert f"night.yaml:{line}: {says}" in message
    assert "--set" not in message


def test_a_change_is_laid_over_key_by_key_and_leaves_the_rest(tmp_path: Path) -> None:
    text = TEXT.replace(
        "diameter: 55 nm", "diameter: 55 nm\n      simulation: {spread: {tmr: 1 %}, lines: {r_row: 3 ohm}}"
    )
    loaded = files.read(write(tmp_path, text), File)
    loaded_file = files.load(tmp_path / "die.yaml", DieDescription)
    changed = files.read(tmp_path / "die.yaml", DieDescription, change=loaded.part("dies", 0, "change")).value
    assert (loaded_file.junction.diameter, changed.junction.diameter) == (80e-9, 55e-9)
    assert (changed.simulation.spread.ra, changed.simulation.spread.tmr) == (0.02, 0.01)
    assert changed.simulation.lines.r_row == 3.0
    assert changed.geometry == loaded_file.geometry


def test_without_a_change_the_part_is_empty(tmp_path: Path) -> None:
    text = TEXT.replace("    change:\n      junction:\n        diameter: 55 nm\n", "")
    loaded = files.read(write(tmp_path, text), File)
    loaded_file = files.read(tmp_path / "die.yaml", DieDescription, change=loaded.part("dies", 0, "change")).value
    assert loaded_file == files.load(tmp_path / "die.yaml", DieDescription)


def test_what_is_wrong_in_the_die_file_itself_keeps_its_place(tmp_path: Path) -> None:
    loaded = files.read(write(tmp_path), File)
    (tmp_path / "die.yaml").write_text(DIE.replace("n_rows: 2", "n_rows: 0"), encoding="utf-8")
    with pytest.raises(BenchError, match=r"die\.yaml:2: geometry\.n_rows: found 0, expected at least 1"):
        files.read(tmp_path / "die.yaml", DieDescription, change=loaded.part("dies", 0, "change"))


def test_bounds_are_said_as_people_write_them(tmp_path: Path) -> None:
    message = refusal(tmp_path, "v_towards_p: 1 V", "v_towards_p: 60 V")
    assert "limits.v_towards_p: found '60 V', expected at most 50 V" in message
    message = refusal(tmp_path, "pulses_per_cell: 99", "pulses_per_cell: 9999999999999")
    assert "expected at most 1,000,000,000,000" in message
