"""What guards a die is measured, what is left out of the measure has a reason, and a group below the floor fails."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.branch_coverage import GROUPS, ROOT, Group, judged, left_out

CONFIGURATION = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PRAGMA = re.compile(r"#\s*pragma[:\s]\s*no\s*(?:cover|branch)(.*)", re.IGNORECASE)
PACKAGES = ("labctl", "instruments", "protocols", "sim_backend")


def unreasoned(text: str) -> list[str]:
    """Return the pragmas of a module's text that leave something out and do not say why."""
    return [one[0] for one in PRAGMA.finditer(text) if not re.fullmatch(r" - \w.{9,}", one[1])]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_line_that_is_left_out_says_why(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not unreasoned(path.read_text(encoding="utf-8")), path


def test_a_pragma_without_a_reason_is_noticed() -> None:
    assert unreasoned("raise X  # pragma: no cover\n")
    assert unreasoned("if y:  #pragma: no branch - so\n")
    assert not unreasoned("raise X  # pragma: no cover - Windows only, see .github\n")


def test_every_pattern_that_is_left_out_says_why() -> None:
    report = tomllib.loads(CONFIGURATION)["tool"]["coverage"].get("report", {})
    assert set(report) <= {"exclude_also", "partial_also"}
    for patterns in report.values():
        for pattern in patterns:
            (before,) = re.findall(rf"^(.*)\n.*{re.escape(pattern)}", CONFIGURATION, re.M)
            assert re.match(r"\s*# \w.{9,}", before), pattern


def test_what_is_left_out_is_listed_with_its_reason() -> None:
    places = left_out()
    assert len(places) == len(set(places))
    told = {re.sub(r":\d+", "", place) for place in places}
    assert "labctl/storage/arrays.py: macOS only: fsync leaves the data in the drive's cache there" in told
    assert "labctl/storage/journal.py: imports for type checkers only" in told
    assert "labctl/core/limits.py: a signature without a body" in told


def test_every_driver_is_measured() -> None:
    registered = tomllib.loads(CONFIGURATION)["project"]["entry-points"]["labctl.instruments"].values()
    assert {f"{one.partition(':')[0].replace('.', '/')}.py" for one in registered} <= set(GROUPS["drivers"].files)


def test_every_module_and_test_that_is_named_exists_and_no_module_counts_twice() -> None:
    for group in GROUPS.values():
        for glob in (*group.modules, *group.tests):
            assert list(ROOT.glob(glob)), glob
    files = [file for group in GROUPS.values() for file in group.files]
    assert len(files) == len(set(files))


def test_the_whole_check_measures() -> None:
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert ".venv/bin/python tests/branch_coverage.py" in map(str.strip, commands)


def report(**covered: tuple[int, int, int, int]) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """Return a report of modules with lines covered and known, branches covered and known."""
    names = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    return {
        "files": {
            f"labctl/core/{file}.py": {"summary": dict(zip(names, c, strict=True))} for file, c in covered.items()
        }
    }


@pytest.mark.parametrize(
    ("limits", "bias", "below"),
    [
        ((100, 100, 19, 20), (200, 200, 40, 40), []),
        ((100, 100, 18, 20), (200, 200, 40, 40), ["one"]),
        ((94, 100, 20, 20), (200, 200, 40, 40), ["one"]),
        ((100, 100, 20, 20), (200, 200, 30, 40), ["two", "all"]),
    ],
)
def test_a_group_below_the_floor_in_lines_or_in_branches_is_named(
    limits: tuple[int, int, int, int], bias: tuple[int, int, int, int], below: list[str]
) -> None:
    groups = {"one": Group(("labctl/core/limits.py",), ()), "two": Group(("labctl/core/bias.py",), ())}
    lines, names = judged(report(limits=limits, bias=bias), groups, 0.95)
    assert names == below
    assert [line.split()[0] for line in lines[1:]] == ["one", "two", "all"]


def test_a_module_that_no_test_imports_is_below_the_floor() -> None:
    groups = {"one": Group(("labctl/core/limits.py", "labctl/core/bias.py"), ())}
    assert judged(report(limits=(100, 100, 2, 2)), groups, 0.95)[1] == ["one", "all"]
    assert Path(groups["one"].files[0]) == Path("labctl/core/bias.py")
