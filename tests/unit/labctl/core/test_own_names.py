"""Import names: ours are ours, and what lies in their place is named with its place and the way out."""

import sys
from pathlib import Path

import pytest

from labctl.core import own_names
from labctl.core.errors import BenchError
from labctl.core.own_names import NAMES, OWN_FOLDER, ForeignName, foreign_names, require_own_names


def package(folder: Path, name: str, text: str = '__distribution__ = "mtj-labctl"\n') -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text)
    return folder / name


def test_the_names_of_this_installation_are_ours() -> None:
    assert foreign_names() == []
    assert all((OWN_FOLDER / name / "__init__.py").is_file() for name in NAMES)
    require_own_names()


@pytest.mark.parametrize("kind", ["package", "namespace", "module"])
@pytest.mark.parametrize("imported", [False, True])
def test_what_comes_before_ours_on_the_path_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, imported: bool
) -> None:
    name = f"labprobes_{kind}_{imported}".lower()
    own = package(tmp_path / "own", name)
    lab = tmp_path / "lab"
    lab.mkdir()
    if kind == "package":
        place = package(lab, name, '"""Drivers of the lab."""\n')
    elif kind == "namespace":
        place = lab / name
        place.mkdir()
        (place / "kepco.py").touch()
    else:
        place = lab / f"{name}.py"
        place.touch()
    monkeypatch.syspath_prepend(lab)
    if imported:
        __import__(name)
    try:
        (foreign,) = foreign_names([name], tmp_path / "own")
        assert imported or name not in sys.modules
    finally:
        sys.modules.pop(name, None)
    assert (foreign.name, foreign.place, foreign.own) == (name, place, own)
    assert str(place) in str(foreign)
    assert str(own) in str(foreign)
    assert f"take {lab} out of Python's path" in str(foreign)


def test_the_way_out_is_that_of_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "own", "labprobes")
    lab = package(tmp_path / "lab", "labprobes", "").parent
    monkeypatch.syspath_prepend(lab)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{lab}".replace(":", own_names.os.pathsep))
    (foreign,) = foreign_names(["labprobes"], tmp_path / "own")
    assert f"take {lab} out of PYTHONPATH" in foreign.remedy
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(lab)
    (foreign,) = foreign_names(["labprobes"], tmp_path / "own")
    assert "start from another folder" in foreign.remedy


def test_an_overwritten_package_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = package(tmp_path, "labprobes", '"""Another distribution\'s."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    distribution(tmp_path, "probekit", RECORD="labprobes/__init__.py,sha256=x,5\n")
    (foreign,) = foreign_names(["labprobes"], tmp_path)
    assert (
        str(foreign) == f"{own / '__init__.py'} is not the one of mtj-labctl: the distribution probekit was installed "
        "over it; uninstall probekit and reinstall mtj-labctl"
    )


def distribution(folder: Path, name: str, **files: str) -> None:
    place = folder / f"{name}-1.0.dist-info"
    place.mkdir()
    for file, text in {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", **files}.items():
        (place / file.replace("top_level", "top_level.txt")).write_text(text)


def test_who_else_installed_a_package_is_known_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "listed", RECORD="kit/a.py,,\nlabprobes/__init__.py,,\n")
    distribution(tmp_path, "module", RECORD="labprobes.py,,\n")
    distribution(tmp_path, "declared", top_level="kit\nlabprobes\n", RECORD="lib/kit.py,,\n")
    distribution(tmp_path, "mtj-labctl", RECORD="labprobes/__init__.py,,\n")
    distribution(tmp_path, "beside", top_level="labprobes2\n", RECORD="labprobes/__init__.py,,\n")
    distribution(tmp_path, "inside", RECORD="kit/labprobes/a.py,,\nlabprobes2/a.py,,\nlabprobes.pyi,,\n")
    distribution(tmp_path, "bare")
    package(tmp_path, "labprobes")
    (tmp_path / "labprobes.py").touch()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    owners = own_names.other_owners(["labprobes", "nobodys"])
    assert owners == {"labprobes": ["declared", "listed", "module"], "nobodys": []}
    known = own_names.metadata.packages_distributions()
    assert sorted({*known["labprobes"]} - {"mtj-labctl"}) == owners["labprobes"]


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (foreign,) = foreign_names(["labprobes_lost"], tmp_path)
    assert foreign == ForeignName("labprobes_lost", None, tmp_path / "labprobes_lost", "reinstall mtj-labctl")
    assert "is not at" in str(foreign)


def test_foreign_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_names, "foreign_names", lambda: foreign_names.__call__(["labprobes_lost"], tmp_path))
    with pytest.raises(BenchError, match="labprobes_lost"):
        require_own_names()
