"""What `labctl new` writes is read without a word, and nothing is written over."""

import sys
from contextlib import nullcontext

import pytest

from instruments.bench_file import read_bench
from labctl import files
from labctl.config.wafer_file import WaferFile
from labctl.core.errors import BenchError
from labctl.files import shipped
from labctl.networks.train import Training
from labctl.station import composition
from sim_backend.description import DieDescription

READ = {
    "campaign": composition.read,
    "die": lambda path: files.read(path, DieDescription),
    "wafer": lambda path: files.read(path, WaferFile),
    "bench": read_bench,
    "training": lambda path: files.read(path, Training),
}
"""How a file of each kind is read."""


@pytest.mark.parametrize(
    ("kind", "like"), [(kind, name) for kind in shipped.KINDS for name in ("", *shipped.examples_of(kind))]
)
def test_every_example_is_read_where_it_is_written(tmp_path, monkeypatch, kind, like):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    written = shipped.write_file(kind, path, like)
    assert written[0] == path
    assert all(one.is_file() and one.is_relative_to(tmp_path) for one in written)
    if "pymeasure" in like:
        pytest.importorskip("pymeasure", reason="needs the extra 'pymeasure'")
    # two trainings name no run of theirs, as nobody has one yet
    with pytest.raises(BenchError, match="needs the run with the survey") if "aware" in like else nullcontext():
        READ[kind](path)
    assert "examples/" not in path.read_text(encoding="utf-8")


def test_every_kind_of_file_has_its_usual_example():
    assert set(READ) == set(shipped.KINDS)
    assert all(usual in shipped.examples_of(kind) for kind, (_, usual) in shipped.KINDS.items())


def test_nothing_is_written_over_and_what_is_there_already_is_left(tmp_path):
    first = shipped.write_file("campaign", tmp_path / "a.yaml")
    assert [path.name for path in first] == ["a.yaml", "wafer-12.yaml", "passive-15x15.yaml"]
    assert [path.name for path in shipped.write_file("campaign", tmp_path / "b.yaml")] == ["b.yaml"]
    with pytest.raises(BenchError, match="nothing is ever written over"):
        shipped.write_file("campaign", tmp_path / "a.yaml")
    (tmp_path / "dies" / "passive-15x15.yaml").write_text("mine")
    with pytest.raises(BenchError, match=r"passive-15x15.yaml: it exists"):
        shipped.write_file("campaign", tmp_path / "c.yaml")
    assert not (tmp_path / "c.yaml").exists()
    with pytest.raises(BenchError, match=r"expected one of .*bench-two-arrays"):
        shipped.write_file("bench", tmp_path / "d.yaml", "bench-three")
    with pytest.raises(BenchError, match="there is no folder "):
        shipped.write_file("die", tmp_path / "nowhere" / "d.yaml")


@pytest.mark.parametrize("kind", shipped.PAGES)
def test_a_distribution_is_that_of_its_page_and_its_module_is_imported(tmp_path, monkeypatch, kind):
    written = shipped.write_distribution(kind, tmp_path / kind)
    assert {"pyproject.toml", "campaign.yaml"} < {path.name for path in written}
    module = next(path.stem for path in written if path.suffix == ".py" and path.stem.startswith("lab_"))
    monkeypatch.syspath_prepend(tmp_path / kind)
    monkeypatch.delitem(sys.modules, module, raising=False)
    __import__(module)
    monkeypatch.delitem(sys.modules, module)
    assert shipped.write_distribution(kind, tmp_path / kind) == []
