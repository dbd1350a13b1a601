"""Stages as campaign files write them: inputs read, and everything that refuses named with file, line and key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from pydantic import Field, create_model, field_validator

from labctl import files
from labctl.config.campaign import Campaign, OneStage
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.inputs import Input, InputFiles, InputReader
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from labctl.core.units import Volt
from labctl.files import Door
from labctl.networks.inputs import DATASET, NETWORKS
from labctl.station import plugins, stages
from protocols.chip_inference import ChipInference
from protocols.survey import Survey


@dataclass(frozen=True)
class Waveform(Input):
    """Voltages of a file, one a line."""

    volts: tuple[float, ...]


def read_waveform(path: str, files: InputFiles) -> Input:
    text = files.read(path).decode()
    if text == "other":
        return Input()
    if text == "bug":
        raise ZeroDivisionError("no line")
    return Waveform(tuple(float(line) for line in text.split()))


class Play(Procedure):
    """Play a waveform."""

    name: ClassVar[str] = "play"

    waveform: Waveform
    other: Waveform | None = None
    v_read: Annotated[Volt, Field(gt=0, description="read voltage")] = 0.1

    @field_validator("waveform")
    @classmethod
    def _not_empty(cls, waveform: Waveform) -> Waveform:
        if not waveform.volts:
            raise ValueError("there is no voltage")
        if waveform.volts[0] == 7:
            raise KeyError("seven")
        return waveform

    def run(self, die: Die, history: History) -> Iterator[Record]:
        yield from ()


class Odd(Procedure):
    """Fail while it is validated."""

    name: ClassVar[str] = "odd"

    number: int = 0

    @field_validator("number")
    @classmethod
    def _fails(cls, number: int) -> int:
        return int([][number]) if number else number

    def run(self, die: Die, history: History) -> Iterator[Record]:
        yield from ()


KINDS: dict[str, type[Procedure]] = {kind.name: kind for kind in (ChipInference, Odd, Play, Survey)}
TEXT = """name: night
limits: {v_towards_p: 1 V, v_towards_ap: 1 V, width: 1 ms, compliance: 1 mA, v_count: 300 mV, pulses_per_cell: 99}
dies: [{name: A, file: die.yaml}]
stages:
  - survey: {}
  - play:
      waveform: up.txt
      v_read: 80 mV
"""
Refusal = Callable[[str], str]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the procedures above, and readers of all that they ask for."""
    readers = (NETWORKS, DATASET, InputReader(Waveform, read_waveform, "one voltage per line", ("flat",)))
    for module in (plugins, stages):
        monkeypatch.setattr(module, "procedures", lambda: KINDS)
        monkeypatch.setattr(module, "input_readers", lambda: readers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "die.yaml").touch()
    (tmp_path / "up.txt").write_text("0.1\n0.2\n")
    return tmp_path


def read(folder: Path, text: str = TEXT, **overrides: str) -> tuple[tuple[Procedure, ...], Door]:
    path = folder / "night.yaml"
    path.write_text(text)
    keys: dict[str, Any] = {name: (stages.stage_field(name, kind), None) for name, kind in KINDS.items()}
    stage = create_model("Stage", __base__=OneStage, **keys)
    model = create_model("File", __base__=Campaign, stages=(tuple[stage, ...], ...))  # type: ignore[valid-type]
    with files.through(Door()) as door:
        loaded = files.read(path, model, stages.overrides_of_stages(path, overrides))
        procedures, _ = stages.read_stages(loaded, door)
        return procedures, door


def refused(folder: Path, text: str, **overrides: str) -> str:
    with pytest.raises(BenchError) as caught:
        read(folder, text, **overrides)
    return str(caught.value).removeprefix(f"{folder}/")


def test_an_input_is_read_from_the_folder_of_its_campaign_and_kept(folder: Path) -> None:
    (survey, play), door = read(folder)
    assert survey == Survey()
    assert play == Play(waveform=Waveform((0.1, 0.2)), v_read=0.08)
    assert list(door.kept) == [folder / "night.yaml", folder / "up.txt"]
    assert play.settings_data() == {"v_read": 0.08}


def test_a_procedure_without_inputs_is_its_own_model_and_one_with_them_writes_texts() -> None:
    assert stages.written(Survey) is Survey
    written = stages.written(Play).model_json_schema()
    assert written["required"] == ["waveform"]
    assert written["properties"]["waveform"]["description"] == "one voltage per line"
    assert written["properties"]["v_read"]["description"] == "read voltage"


def test_the_name_of_an_input_alone_sets_it_in_every_stage_that_has_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "here").mkdir()
    (folder / "here" / "down.txt").write_text("-1\n")
    monkeypatch.chdir(folder / "here")
    (_, one, two), _ = read(folder, TEXT + "  - play: {v_read: 70 mV, waveform: up.txt}\n", waveform="down.txt")
    assert [p.waveform.volts for p in (one, two) if isinstance(p, Play)] == [(-1.0,), (-1.0,)]
    (_, alone), _ = read(
        folder, TEXT.replace("play:\n      waveform: up.txt\n      v_read: 80 mV", "play:"), waveform="down.txt"
    )
    assert isinstance(alone, Play)
    message = refused(folder, TEXT, data="wine")
    assert message == f"--set data=wine: no stage of {folder / 'night.yaml'} asks for 'data'"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "night.yaml:7: stages.1.play.waveform: found 'up.txt': there is no voltage"),
        ("1 V", "night.yaml:7: stages.1.play.waveform: {folder}/up.txt: could not convert string to float: 'V'"),
        ("bug", "night.yaml:7: stages.1.play.waveform: the reader of {folder}/up.txt ({here}:read_waveform) failed "
         "with ZeroDivisionError: no line"),
        ("other", "night.yaml:7: stages.1.play.waveform: the reader of {folder}/up.txt ({here}:read_waveform) gives a "
         "Input, expected a Waveform"),
        ("7", "night.yaml:6: stages.1.play: the protocol 'play' ({here}:Play) failed with KeyError: 'seven'"),
    ],
)  # fmt: skip
def test_what_an_input_is_refused_for_is_said_with_file_line_and_key(folder: Path, content: str, says: str) -> None:
    (folder / "up.txt").write_text(content)
    assert refused(folder, TEXT) == says.format(folder=folder, here=__name__)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "      waveform: up.txt\n",
            "",
            "6: stages.1.play: the key 'waveform' is missing: one voltage",
        ),
        ("up.txt", "no.txt", "no such file or folder: {folder}/no.txt; expected a path or one of flat"),
        ("80 mV", "80", "night.yaml:8: stages.1.play.v_read: the bare number 80 has no unit"),
        ("80 mV", "-80 mV", "night.yaml:8: stages.1.play.v_read: found '-80 mV', expected more than 0"),
        ("survey: {}", "odd: {number: 3}", "stages.0.odd: the protocol 'odd' ({here}:Odd) failed with IndexError"),
    ],
)
def test_a_stage_that_is_wrong_is_refused(folder: Path, old: str, new: str, says: str) -> None:
    assert says.format(folder=folder, here=__name__) in refused(folder, TEXT.replace(old, new))


def test_an_input_that_nothing_reads_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "input_readers", lambda: (NETWORKS, DATASET))
    assert "asks for 'waveform', a Waveform, and nothing reads one" in refused(folder, TEXT)


def test_data_beyond_the_inputs_of_a_die_are_refused_with_file_and_key(folder: Path) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1, 1, (7, 4)), np.arange(7) % 3
    x[3, 2] = 1 + 2e-16
    np.savez(folder / "mine.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    np.savez(
        folder / "net.npz", index=np.array([4]), fc1_devices=np.zeros((1, 4, 6), np.uint8), fc1_bias=np.zeros((1, 3))
    )
    network = "  - chip_inference:\n      solutions: net.npz\n      data: mine.npz\n"
    text = TEXT.partition("  - survey")[0] + network
    message = refused(folder, text)
    assert message.startswith(
        "night.yaml:7: stages.0.chip_inference.data: found 'mine.npz': x_train of 'mine.npz' reaches 1.0000000000000002"
    )
    assert "'preprocess: scale' divides" in message
    (stage,), door = read(folder, text + "      preprocess: scale\n")
    assert isinstance(stage, ChipInference)
    assert np.abs(stage.data.x_train).max() == 1
    assert [path.name for path in door.kept] == ["night.yaml", "net.npz", "mine.npz"]
    assert stage.settings_data()["preprocess"]["scale"] is True
    assert "has 4 inputs; the data set 'wine' has 13 features" in refused(folder, text, data="wine")
