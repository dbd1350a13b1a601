"""Files become models, or every mistake in them is named at its line."""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field, model_validator
from pydantic_core import core_schema

from labctl import files
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import Metre, Ratio, Volt
from labctl.files.tree import Problem


class Scheme(Enum):
    HALF = "V/2"
    THIRD = "V/3"


class Survey(Model):
    kind: Literal["survey"]
    v_read: Annotated[Volt, Field(gt=0, le=1.5)]
    survey: int = 1


class Write(Model):
    kind: Literal["write"]
    v_write: Volt
    pulses: Annotated[int, Field(ge=1)] = 3
    scheme: Scheme = Scheme.HALF
    ladder: tuple[Volt, ...] = ()


class Die(Model):
    diameter: Metre
    tmr: Ratio = 1.2
    sizes: tuple[int, int] = (13, 6)


class Old(Model):
    """Beneath a validator of mode "before" everything is a Python object."""

    scheme: Scheme = Scheme.HALF
    sizes: tuple[int, int] = (13, 6)
    path: Path = Path()
    deep: bool = False

    @model_validator(mode="before")
    @classmethod
    def _same(cls, value: Any) -> Any:
        return value


class Campaign(Model):
    name: str
    die: files.Included[Die]
    stages: Annotated[tuple[Annotated[Survey | Write, Field(discriminator="kind")], ...], Field(min_length=1)]
    solutions: files.FilePath | None = None
    data: Literal["wine", "digits"] | files.FilePath = "wine"
    out: files.NewPath = Path("out")
    plot: bool = False
    old: Old = Old()
    lots: dict[str, Volt] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> "Campaign":
        if self.name == "sum" and sum(self.die.sizes) > 15:
            raise ValueError("layers of 13 and 6 do not fit, expected at most 15 together")
        if self.name == "bench":
            raise BenchError("the die has no such kernel")
        return self


GOOD = """\
name: no
die:
  diameter: 80 nm
  tmr: 120 %
stages:
  - {kind: survey, v_read: 100 mV}
  - kind: write
    v_write: 450 mV
    scheme: V/3
    ladder: [400 mV, 0.5 V]
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    path = tmp_path / "lab" / "wine.yaml"
    path.write_text(GOOD, "utf-8")
    return path


def lines(path: Path, overrides: dict[str, str] | None = None, model: Any = Campaign) -> list[str]:
    with pytest.raises(BenchError) as refused:
        files.load(path, model, overrides)
    return str(refused.value).replace(f"{path}:", f"{path.name}:").split("\n")


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    return path


def test_a_good_file_becomes_its_model(campaign: Path) -> None:
    loaded = files.load(campaign, Campaign)
    assert loaded.name == "no"
    assert loaded.die == Die(diameter=8e-8, tmr=1.2)
    assert loaded.stages == (
        Survey(kind="survey", v_read=0.1),
        Write(kind="write", v_write=0.45, scheme=Scheme.THIRD, ladder=(0.4, 0.5)),
    )


def test_provenance_is_verbatim(campaign: Path) -> None:
    campaign.write_bytes(GOOD.replace("\n", "\r\n").encode() + "# µ\r\n".encode())
    with files.through(files.Door()) as door:
        loaded = files.read(campaign, Campaign, {"name": "x"})
    assert door.kept == {campaign: campaign.read_bytes()}
    assert (loaded.path, dict(loaded.overrides)) == (campaign, {"name": "x"})
    assert loaded.where("stages", 1, "ladder") == f"{campaign}:10"
    assert loaded.where("name") == "--set"
    assert str(loaded.error("too high", "stages", 0, "v_read")) == f"{campaign}:6: stages.0.v_read: too high"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "450 mV",
            "450",
            "wine.yaml:8: stages.1.v_write: the bare number 450 has no unit; expected a quantity such as",
        ),
        ("450 mV", "450 mA", "wine.yaml:8: stages.1.v_write: found '450 mA': 'mA' is not a unit of V"),
        ("450 mV", "[450 mV]", "wine.yaml:8: stages.1.v_write: found a list of 1, expected a quantity such as 450 mV"),
        ("450 mV", "", "wine.yaml:8: stages.1.v_write: found nothing, expected a quantity such as 450 mV"),
        ("450 mV", "true", "wine.yaml:8: stages.1.v_write: "),
        ("450 mV", ".nan", "wine.yaml:8: stages.1.v_write: found .nan, expected a finite number"),
        ("400 mV", "0.4", "wine.yaml:10: stages.1.ladder.0: the bare number 0.4 has no unit"),
        ("100 mV", "2 V", "wine.yaml:6: stages.0.v_read: found '2 V', expected at most 1.5"),
        ("100 mV", "0 V", "wine.yaml:6: stages.0.v_read: found '0 V', expected more than 0"),
        (
            "v_write",
            "v_wirte",
            "wine.yaml:8: stages.1.v_wirte: found the unknown key 'v_wirte'; did you mean 'v_write'?",
        ),
        ("v_write:", "pulses: 2.5 #", "wine.yaml:8: stages.1.pulses: found 2.5, expected a whole number"),
        ("scheme: V/3", "pulses: '3'", "wine.yaml:9: stages.1.pulses: found '3', expected a whole number"),
        ("scheme: V/3", "pulses: 3e1", "wine.yaml:9: stages.1.pulses: found 3e1, expected a whole number, written 30"),
        ("scheme: V/3", "pulses: true", "wine.yaml:9: stages.1.pulses: found true, expected a whole number"),
        ("scheme: V/3", "pulses: 0", "wine.yaml:9: stages.1.pulses: found 0, expected at least 1"),
        ("V/3", "V/4", "wine.yaml:9: stages.1.scheme: found 'V/4', expected 'V/2' or 'V/3'"),
        (
            "write\n",
            "wrte\n",
            "wine.yaml:7: stages.1.kind: found 'wrte', expected one of 'survey', 'write'; did you mean",
        ),
        (
            "kind: write",
            "sort: write",
            "wine.yaml:7: stages.1: the key 'kind' is missing, expected one of 'survey', 'write'",
        ),
        ("name: no", "name: 12", "wine.yaml:1: name: found 12, expected a text, '12' in quotes"),
        ("name: no", "plot: no", "wine.yaml:1: plot: found 'no', expected true or false"),
        ("name: no", "plot: 1", "wine.yaml:1: plot: found 1, expected true or false"),
        ("  tmr: 120 %", "  sizes: 4", "wine.yaml:4: die.sizes: found 4, expected a list in brackets, [..., ...]"),
        ("name: no", "name: sum", "wine.yaml:1: layers of 13 and 6 do not fit, expected at most 15 together"),
        ("name: no", "lots: 3\nname: a", "wine.yaml:1: lots: found 3, expected a mapping (key: value)"),
        ("name: no", "lots: {a: 1}\nname: a", "wine.yaml:1: lots.a: the bare number 1 has no unit"),
        (
            "  diameter: 80 nm\n",
            "",
            "wine.yaml:2: die: the key 'diameter' is missing: a quantity in m, such as 80 nm",
        ),
        ("  tmr: 120 %", "  sizes: [1]", "wine.yaml:4: die.sizes: found a list of 1, expected 2 entries"),
        ("  tmr: 120 %", "  sizes: [1, 2, 3]", "wine.yaml:4: die.sizes: found a list of 3, expected at most 2 entries"),
        (
            "  tmr: 120 %",
            "  xyz: 1",
            "wine.yaml:4: die.xyz: found the unknown key 'xyz', expected one of 'diameter', 'tmr'",
        ),
    ],
)
def test_one_mistake_is_one_line(campaign: Path, old: str, new: str, says: str) -> None:
    messages = lines(edited(campaign, old, new))
    assert any(line.startswith(says) for line in messages), messages
    lost = {"name: no": "name:", "v_write": "v_write:", "v_write:": "v_write:"}.get(old, "")
    assert len(messages) == (1 if lost in new else 2)  # a key that the edit took away is missing besides


def test_a_union_says_what_each_branch_expects(campaign: Path, tmp_path: Path) -> None:
    edited(campaign, "name: no", "name: a\ndata: iris")
    assert lines(campaign) == [
        "wine.yaml:2: data: found 'iris', expected 'wine' or 'digits'",
        f"wine.yaml:2: data: no such file or folder: {tmp_path / 'lab' / 'iris'}",
    ]


def test_all_mistakes_are_listed_in_the_order_of_the_file(campaign: Path) -> None:
    text = "die: {diameter: 80}\nstages:\n  - 5\n  - {kind: survey, v_read: 1 A, x: 1}\nplot: 1\nplot: 2\nw: .inf\n"
    campaign.write_text(text, "utf-8")
    assert [line.split(": ")[:2] for line in lines(campaign)] == [
        ["wine.yaml:6", "plot"],
        ["wine.yaml:7", "w"],
        ["wine.yaml:1", "the key 'name' is missing"],
        ["wine.yaml:1", "die.diameter"],
        ["wine.yaml:3", "stages.0"],
        ["wine.yaml:4", "stages.1.v_read"],
        ["wine.yaml:4", "stages.1.x"],
    ]


def test_an_error_of_the_bench_inside_a_model_names_the_file(campaign: Path) -> None:
    assert lines(edited(campaign, "name: no", "name: bench")) == ["wine.yaml: the die has no such kernel"]


def test_strictness_survives_a_validator_of_mode_before(campaign: Path) -> None:
    edited(campaign, "name: no", "name: a\nold: {scheme: V/3, sizes: [1, 2], path: x, deep: true}")
    assert files.load(campaign, Campaign).old == Old(scheme=Scheme.THIRD, sizes=(1, 2), path=Path("x"), deep=True)
    edited(campaign, "deep: true", "deep: no")
    assert lines(campaign) == ["wine.yaml:2: old.deep: found 'no', expected true or false"]


def test_a_key_with_the_name_of_its_kind_is_found(campaign: Path) -> None:
    edited(campaign, "v_read: 100 mV", "v_read: 100 mV, survey: a")
    assert lines(campaign) == ["wine.yaml:6: stages.0.survey: found 'a', expected a whole number"]


def test_the_command_line_overrides(campaign: Path) -> None:
    loaded = files.load(
        campaign,
        Campaign,
        {
            "die.diameter": "55 nm",
            "stages.1.ladder.0": "1 V",
            "stages.0": "{kind: write, v_write: 1 V}",
            "plot": "true",
            "lots.a": "2 V",
            "die.sizes": "[3, 4]",
        },
    )
    assert loaded.die == Die(diameter=5.5e-8, tmr=1.2, sizes=(3, 4))
    assert loaded.stages[1].ladder == (1.0, 0.5)  # type: ignore[union-attr]
    assert loaded.stages[0] == Write(kind="write", v_write=1.0)
    assert (loaded.plot, loaded.lots) == (True, {"a": 2.0})


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("die.diamter", "5 nm", "--set: die.diamter: found the unknown key 'diamter'; did you mean 'diameter'?"),
        (
            "die.diameter",
            "55",
            "--set: die.diameter: the bare number 55 has no unit; expected a quantity such as 80 nm",
        ),
        ("die.diameter", ".nan", "--set: die.diameter: found .nan, expected a finite number"),
        ("die.diameter.x", "55 nm", "--set: die.diameter.x: found '80 nm' ("),
        ("stages.2.kind", "write", "--set: stages.2: found entry '2', expected 0, the first entry, to 1, the last"),
        ("stages.-1.kind", "write", "--set: stages.-1: found entry '-1', expected 0, the first entry, to 1, the last"),
        ("stages.x", "write", "--set: stages.x: found entry 'x', expected 0, the first entry, to 1, the last"),
        ("stages", "[]", "--set: stages: found an empty list, expected at least 1 entry"),
        ("stages.0.v_read", "[1, 2", "--set: stages.0.v_read: found a bracket that is not closed"),
        ("a..b", "1", "--set: found 'a..b=1', expected key=value or key.0.key=value"),
        ("dye.diameter", "5 nm", "--set: dye: found the unknown key 'dye'; did you mean 'die'?"),
        ("plot", "no", "--set: plot: found 'no', expected true or false"),
        ("name", "", "--set: name: found nothing, expected a text"),
    ],
)
def test_a_wrong_override_is_refused_in_the_same_words(campaign: Path, key: str, text: str, says: str) -> None:
    (messages,) = lines(campaign, {key: text})
    assert messages.startswith(says)


def test_paths_start_where_they_are_written(campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab" / "own.npz").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own.npz").touch()
    monkeypatch.chdir(tmp_path / "here")
    edited(campaign, "name: no", "name: a\nsolutions: own.npz\ndata: ../lab/own.npz\nout: runs/1")
    written = files.load(Path("..") / "lab" / "wine.yaml", Campaign)
    assert written.solutions == tmp_path / "lab" / "own.npz"
    assert written.data == tmp_path / "lab" / "own.npz"
    assert written.out == tmp_path / "lab" / "runs" / "1"
    overridden = files.load(campaign, Campaign, {"solutions": "own.npz", "out": "there", "data": "digits"})
    assert overridden.solutions == tmp_path / "here" / "own.npz"
    assert (overridden.out, overridden.data) == (tmp_path / "here" / "there", "digits")


def test_a_missing_file_is_named_where_it_is_written(campaign: Path, tmp_path: Path) -> None:
    edited(campaign, "name: no", "name: a\nsolutions: none.npz")
    (messages,) = lines(campaign)
    assert messages.startswith("wine.yaml:2: solutions: ")
    assert f"no such file or folder: {tmp_path / 'lab' / 'none.npz'}" in messages


def test_python_gives_paths_as_they_are() -> None:
    loaded = Campaign(name="a", die=Die(diameter=1e-8), stages=(Survey(kind="survey", v_read=0.1),), out=Path("x"))
    assert loaded.out == Path("x")


def test_a_mapping_may_stand_in_a_file_of_its_own(campaign: Path, tmp_path: Path) -> None:
    text = campaign.read_text("utf-8").replace("die:\n  diameter: 80 nm\n  tmr: 120 %\n", "die: ../dies/a.yaml\n")
    campaign.write_text(text, "utf-8")
    (tmp_path / "dies").mkdir()
    die = tmp_path / "dies" / "a.yaml"
    die.write_text("# a die\ndiameter: 65 nm\n", "utf-8")
    with files.through(files.Door()) as door:
        loaded = files.read(campaign, Campaign, {"die.tmr": "90 %"})
    assert loaded.value.die == Die(diameter=6.5e-8, tmr=0.9)
    assert door.kept == {path.resolve(): path.read_bytes() for path in (campaign, die)}
    assert loaded.where("die", "diameter").endswith("a.yaml:2")

    other = tmp_path / "other.yaml"
    other.write_text("diameter: 1 nm\n", "utf-8")
    both = files.load(campaign, Campaign, {"die": str(other), "die.tmr": "50 %"})
    assert both.die == Die(diameter=1e-9, tmr=0.5)

    die.write_text("diameter: 65\nx: 1\nx: 2\n", "utf-8")
    messages = lines(campaign)
    assert [line.partition("a.yaml:")[2].split(": ")[:2] for line in messages] == [
        ["3", "die.x"],
        ["1", "die.diameter"],
    ]
    die.unlink()
    (said_,) = lines(campaign)
    assert said_.startswith("wine.yaml:2: die: no such file (")


class Nested(Model):
    path: files.FilePath
    inner: "files.Included[Nested] | None" = None


def test_files_in_files_keep_their_folders_and_end(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    (tmp_path / "top.yaml").write_text("path: a/x\ninner: a/in.yaml\n", "utf-8")
    (tmp_path / "a" / "in.yaml").write_text("path: x\ninner: ../b/in.yaml\n", "utf-8")
    (tmp_path / "b" / "in.yaml").write_text("path: x\n", "utf-8")
    with files.through(files.Door()) as door:
        loaded = files.read(tmp_path / "top.yaml", Nested)
    inner = loaded.value.inner
    assert inner is not None
    assert inner.inner is not None
    assert (inner.path, inner.inner.path) == (tmp_path / "a" / "x", tmp_path / "b" / "x")
    assert len(door.kept) == 3
    (tmp_path / "b" / "in.yaml").write_text("path: x\ninner: ../top.yaml\n", "utf-8")
    (messages,) = lines(tmp_path / "top.yaml", model=Nested)
    assert "inside itself" in messages


class Table(Model):
    value: Annotated[Any, Field()] = None
    matrix: Annotated[np.ndarray, Field()] = Field(default_factory=lambda: np.zeros((2, 3)))


def test_the_schema_is_valid_and_judges_as_the_loader_does(campaign: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    made = files.schema(Campaign)
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    judge = jsonschema.Draft202012Validator(made)
    judge.check_schema(made)
    data = files.read(campaign, Campaign).root.plain()
    assert judge.is_valid(data)
    assert judge.is_valid(data | {"die": "die.yaml"})
    for wrong in ({"die": {"diameter": 80}}, {"die": 5}, {"extra": 1}, {"stages": [{"kind": "wrte"}]}, {"plot": "no"}):
        assert not judge.is_valid(data | wrong)
    assert json.loads(json.dumps(made)) == made


def test_a_model_with_what_json_schema_cannot_say_still_has_one() -> None:
    assert set(files.schema(Table)["properties"]) == {"value", "matrix"}


def test_units_and_examples_are_said_when_the_schema_knows_them(tmp_path: Path) -> None:
    class Marked:
        def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
            return core_schema.float_schema(le=1.0)

        def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
            return {"type": "number", "x-unit": "V"}

    class Small(Model):
        v: Annotated[float, Marked()]
        lot: Annotated[str, Field(examples=["L7"])] = ""
        die: Annotated[str, Field(examples=["D80"])]
        wafer: Annotated[str, Field(description="Number on the box.", examples=["W3"])]

    (tmp_path / "a.yaml").write_text("v: 2.5\n", "utf-8")
    assert lines(tmp_path / "a.yaml", model=Small) == [
        "a.yaml:1: the key 'die' is missing, expected a text such as D80",
        "a.yaml:1: the key 'wafer' is missing: number on the box (written like 'W3')",
        "a.yaml:1: v: found 2.5, expected at most 1 V",
    ]


def test_a_long_word_of_the_file_is_shortened_before_the_sentence_about_it():
    driver = "1" * 5000
    text = f"driver '{driver}' is not installed; there are a, b; such as b.{driver}"
    line = str(Problem("bench.yaml:4", ("smu",), text))
    short = f"{'1' * 57}..."
    assert line == f"bench.yaml:4: smu: driver '{short}' is not installed; there are a, b; such as b.{'1' * 55}..."
    words = "all sorts of words " * 100
    assert str(Problem("", (), words)).endswith(words[-200:])
    assert str(Problem("", (), "x" * 300)) == "x" * 300, "what is not long is shown as it is"
