"""The import contracts of pyproject.toml forbid what they say, and nothing else; files lie where the layers have them.

Every module is planted in a copy of the four packages: a contract that is never seen to break may forbid nothing.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("labctl", "instruments", "protocols", "sim_backend")
CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
}
DOWN = "Arrows go down"
COMPLETE = "Every package of labctl has its layer"
CIRCLE = "No circle, between packages or between files"
FACE = "Nothing inside imports the face"
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def layers_of(contract: str) -> list[list[str]]:
    """Return the packages of each layer of a contract, from the top."""
    return [[name.strip() for name in layer.split("|")] for layer in CONTRACTS[contract]["layers"]]


LAYERS = layers_of(DOWN)
LAYERED = [package for layer in LAYERS for package in layer]


def forbidden_pairs() -> set[tuple[str, str]]:
    """Return every (importer, imported) of two packages that goes up, or to a neighbour in the same layer."""
    height = {package: -index for index, layer in enumerate(LAYERS) for package in layer}
    return {(low, high) for low in LAYERED for high in LAYERED if low != high and height[low] <= height[high]}


@dataclass(frozen=True)
class Verdict:
    """What `lint-imports` printed about the copy of the packages."""

    exit_code: int
    text: str

    @property
    def broken(self) -> set[str]:
        """Return the names of the broken contracts."""
        return {name for name in CONTRACTS if re.search(rf"^{re.escape(name)} BROKEN", self.text, re.M)}

    def pairs(self, contract: str) -> set[tuple[str, str]]:
        """Return the (importer, imported) packages that the report of a contract names."""
        report = re.split(r"^Broken contracts$", self.text, flags=re.M)[-1]
        titles = "|".join(map(re.escape, CONTRACTS))
        parts = re.split(rf"^({titles})$", report, flags=re.M)
        text = dict(zip(parts[1::2], parts[2::2], strict=True))[contract]
        return set(re.findall(r"^(\S+) is not allowed to import (\S+?):?$", text, re.M))


Linter = Callable[[dict[str, str]], Verdict]


@pytest.fixture
def lint(tmp_path: Path) -> Linter:
    """Return a function that plants modules (file to text) in a copy of the packages and checks the contracts."""
    only_python = shutil.ignore_patterns("__pycache__", "*.[!p]*")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=only_python)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def check(planted: dict[str, str]) -> Verdict:
        for file, text in planted.items():
            path = tmp_path / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", LINT], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8"
        )
        assert "Analyzed" in done.stdout, done.stdout + done.stderr
        return Verdict(done.returncode, done.stdout)

    return check


def file_in(package: str, module: str) -> str:
    """Return the path of a new module in a package."""
    return f"{package.replace('.', '/')}/{module}.py"


def test_the_two_layer_contracts_hold_the_same_list() -> None:
    children = [[name.removeprefix("labctl.") for name in layer if name.startswith("labctl.")] for layer in LAYERS]
    assert [layer for layer in children if layer] == layers_of(COMPLETE)


def test_every_package_has_a_layer() -> None:
    packages = {f"labctl.{path.parent.name}" for path in (ROOT / "labctl").glob("*/__init__.py")}
    assert packages | {"instruments", "protocols", "sim_backend"} == set(LAYERED)


def test_a_harmless_module_in_every_package_breaks_nothing(lint: Linter) -> None:
    """Each new module imports one package of the layer below: nothing is to be listed for it."""
    planted = {}
    for layer, below in zip(LAYERS, [*LAYERS[1:], []], strict=True):
        for package in layer:
            planted[file_in(package, "planted")] = f"import {below[0]}\n" if below else "import math\n"
    verdict = lint(planted)
    assert verdict.exit_code == 0, verdict.text
    assert not verdict.broken


def test_an_upward_import_is_forbidden_between_every_two_packages(lint: Linter) -> None:
    planted: dict[str, str] = {}
    for low, high in sorted(forbidden_pairs()):
        file = file_in(low, "planted")
        planted[file] = planted.get(file, "") + f"import {high}\n"
    verdict = lint(planted)
    assert verdict.exit_code == 1
    assert verdict.broken >= {DOWN, COMPLETE}
    assert verdict.pairs(DOWN) == forbidden_pairs()
    inside = {pair for pair in forbidden_pairs() if all(name.startswith("labctl.") for name in pair)}
    assert verdict.pairs(COMPLETE) == inside


def test_no_package_may_import_the_face(lint: Linter) -> None:
    verdict = lint({file_in(package, "planted"): "import labctl\n" for package in LAYERED})
    assert FACE in verdict.broken
    reported = verdict.text.split(f"{FACE}\n{'-' * len(FACE)}")[1]
    assert {package for package in LAYERED if f"{package}.planted -> labctl " in reported} == set(LAYERED)


@pytest.mark.parametrize("file", ["labctl/stray/__init__.py", "labctl/stray.py"])
def test_a_new_package_or_module_of_labctl_must_have_a_layer(lint: Linter, file: str) -> None:
    verdict = lint({file: "import math\n"})
    assert verdict.broken == {COMPLETE}
    assert "labctl.stray" in verdict.text


def test_a_circle_between_two_files_is_forbidden_in_every_package(lint: Linter) -> None:
    planted = {}
    for package in LAYERED:
        planted[file_in(package, "planted_a")] = f"import {package}.planted_b\n"
        planted[file_in(package, "planted_b")] = f"import {package}.planted_a\n"
    verdict = lint(planted)
    assert verdict.broken == {CIRCLE}
    assert set(re.findall(r"^No cycles are allowed in (\S+)\.$", verdict.text, re.M)) == set(LAYERED)


def test_a_circle_between_a_file_and_a_package_is_forbidden(lint: Linter) -> None:
    verdict = lint(
        {
            "labctl/core/planted_room/__init__.py": "",
            "labctl/core/planted_room/inner.py": "import labctl.core.planted_a\n",
            "labctl/core/planted_a.py": "import labctl.core.planted_room.inner\n",
        }
    )
    assert verdict.broken == {CIRCLE}


@pytest.mark.parametrize("module", sorted((ROOT / "labctl").glob("*.py")), ids=lambda path: path.name)
def test_labctl_has_no_loose_modules(module: Path) -> None:
    assert module.stem in {"__init__", "__main__", "testing"}


@pytest.mark.parametrize(
    "file",
    sorted(path.relative_to(ROOT / "tests" / "unit") for path in (ROOT / "tests" / "unit").rglob("test_*.py")),
    ids=str,
)
def test_a_unit_test_lies_where_its_module_lies(file: Path) -> None:
    """`test_decisions_stop.py` lies with `decisions.py`: its name begins with the module's, up to an underscore."""
    words = file.stem.removeprefix("test_").split("_")
    names = {"_".join(words[:n]) for n in range(1, len(words) + 1)}
    folder = ROOT / file.parent
    modules = {path.stem.lstrip("_") for path in folder.glob("*.py")} - {"init__"}
    modules |= {folder.name, *(path.parent.name for path in folder.glob("*/__init__.py"))}
    assert names & modules, f"no module of {file.parent} is the subject of {file.name}"
