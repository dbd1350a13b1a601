"""Measure which branches the tests of the parts that guard a die take, and fail below the floor.

    python tests/branch_coverage.py                 the tests below, in this and in all processes that they start
    python tests/branch_coverage.py --missing       also every line and branch that no test takes
    python tests/branch_coverage.py --others        pytest's options for all tests but these, and nothing is measured

`GROUPS` says what is measured, and by which tests. What is left out has its reason behind `# pragma: no cover - REASON`
and is listed with it; coverage.py itself leaves out what no process runs. Exit code 1 if a test fails or a group is
below the floor, in lines or in branches.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "build" / "coverage"
FLOOR = 0.95
"""Least part of the lines, and of the branches, of each group and of all."""
LEFT_OUT = (
    (re.compile(r"# pragma: no (?:cover|branch) - (.+)"), ""),
    (re.compile(r"^\s*if TYPE_CHECKING:()"), "imports for type checkers only"),
    (re.compile(r"^\s*(?:def .*: )?\.\.\.()$"), "a signature without a body"),
)
"""What is not measured, with its reason, "" for the one that it names: by a pragma, or by coverage.py itself."""


@dataclass(frozen=True)
class Group:
    """Modules that are judged together, and the tests that concern them; globs, from the root."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def files(self):
        """The modules, as paths from the root."""
        return sorted({file.relative_to(ROOT).as_posix() for glob in self.modules for file in ROOT.glob(glob)})

    @property
    def test_files(self):
        """The tests, as paths from the root."""
        return sorted({file.relative_to(ROOT).as_posix() for glob in self.tests for file in ROOT.glob(glob)})


INSTRUMENTS = "tests/unit/instruments"
GROUPS = {
    "limits": Group(
        ("labctl/core/limits.py",),
        (
            "tests/unit/labctl/core/test_limits.py",
            "tests/unit/labctl/execution/test_recorded_die.py",
            "tests/contract/test_unknown_operation.py",
        ),
    ),
    "cell voltages": Group(
        ("labctl/core/cell_voltage.py",),
        ("tests/unit/labctl/core/test_cell_voltage.py", "tests/unit/labctl/core/test_limits.py"),
    ),
    "journal": Group(
        ("labctl/storage/journal*.py", "labctl/storage/arrays.py", "labctl/storage/deduplicate.py"),
        (
            "tests/unit/labctl/storage/test_journal*.py",
            "tests/unit/labctl/storage/test_held.py",
            "tests/unit/labctl/storage/test_deduplicate.py",
            "tests/unit/labctl/storage/test_arrays.py",
        ),
    ),
    "replay": Group(
        ("labctl/execution/replay.py", "labctl/execution/journal_die.py", "labctl/execution/recorded_die.py"),
        (
            "tests/unit/labctl/execution/test_replay*.py",
            "tests/unit/labctl/execution/test_recorded_die.py",
            "tests/unit/labctl/execution/test_journal_die.py",
            "tests/unit/labctl/execution/test_run_loop.py",
            "tests/contract/test_unknown_operation.py",
        ),
    ),
    "make safe": Group(
        ("instruments/emergency.py", "instruments/at_rest.py"),
        (f"{INSTRUMENTS}/test_emergency*.py", f"{INSTRUMENTS}/test_at_rest.py"),
    ),
    "bench state": Group(("instruments/bench_state.py",), (f"{INSTRUMENTS}/test_bench_state.py",)),
    "drivers": Group(
        (
            "instruments/keithley*.py",
            "instruments/inside_scripts.py",
            "instruments/keysight*.py",
            "instruments/tsp.py",
            "instruments/chuck_prober.py",
            "instruments/mpi_sentio.py",
            "instruments/flex.py",
            "instruments/sentio_*.py",
            "instruments/velox*.py",
            "instruments/chuck.py",
            "instruments/chuck_temperature.py",
            "instruments/before_a_die.py",
            "instruments/stepping.py",
            "instruments/manual_prober.py",
            "instruments/generic_*.py",
            "instruments/json_lines.py",
            "instruments/host_timed.py",
            "instruments/scpi.py",
            "instruments/scpi_source.py",
            "instruments/adapter/*.py",
            "instruments/keysightm9615a.py",
            "instruments/ktm960x.py",
            "instruments/niswitch.py",
        ),
        (
            f"{INSTRUMENTS}/test_keithley*.py",
            f"{INSTRUMENTS}/test_inside_scripts.py",
            f"{INSTRUMENTS}/test_keysight*.py",
            f"{INSTRUMENTS}/test_mpi_sentio.py",
            f"{INSTRUMENTS}/test_chuck_temperature.py",
            f"{INSTRUMENTS}/test_before_a_die.py",
            f"{INSTRUMENTS}/test_velox.py",
            f"{INSTRUMENTS}/test_manual_prober.py",
            f"{INSTRUMENTS}/test_generic_*.py",
            f"{INSTRUMENTS}/test_tsp.py",
            f"{INSTRUMENTS}/test_json_lines.py",
            f"{INSTRUMENTS}/test_host_timed.py",
            f"{INSTRUMENTS}/test_scpi*.py",
            f"{INSTRUMENTS}/adapter/test_*.py",
            f"{INSTRUMENTS}/test_keysightm9615a.py",
            f"{INSTRUMENTS}/test_niswitch.py",
            f"{INSTRUMENTS}/test_open_bench.py",
            "tests/unit/labctl/testing/test_emulated.py",
        ),
    ),
}


def coverage(*arguments, **options):
    """Run coverage.py with the data of this script; return the finished process."""
    environment = {**os.environ, "COVERAGE_FILE": str(DATA / "data"), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT, env=environment, **options)


def tests_of_all():
    """Return the tests of all groups, as paths from the root."""
    return sorted({file for group in GROUPS.values() for file in group.test_files})


def measure():
    """Pass the tests of all groups under coverage, on two processes; return pytest's exit code."""
    for old in DATA.glob("data*"):
        old.unlink()
    DATA.mkdir(parents=True, exist_ok=True)
    DATA.chmod(0o777)  # a process that a test starts as another user leaves its data here as well
    modules = [file for group in GROUPS.values() for file in group.files]
    include = ",".join(f"*/{file}" for file in modules)
    pytest = ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *tests_of_all()]
    return coverage("run", f"--include={include}", *pytest).returncode


def left_out(groups=GROUPS):
    """Return "module:line: reason" of all that is not measured."""
    return [
        f"{file}:{number}: {reason or found[1]}"
        for file in sorted(file for group in groups.values() for file in group.files)
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1)
        for pattern, reason in LEFT_OUT
        if (found := pattern.search(line))
    ]


def judged(report, groups=GROUPS, floor=FLOOR):
    """Return the lines of a table of what is covered, and the names of groups below the floor; "all" is one of them.

    Args:
        report: what `coverage json` writes.
    """
    files = {Path(name).as_posix(): one["summary"] for name, one in report["files"].items()}
    members = {name: group.files for name, group in groups.items()}
    members["all"] = [file for group in members.values() for file in group]
    lines, below = [f"{'':14}  {'lines':>14}  {'branches':>14}"], []
    for name, modules in members.items():
        parts = []
        for covered, known in (("covered_lines", "num_statements"), ("covered_branches", "num_branches")):
            # a module that no test imports is not in the report, and counts as a branch that is not taken
            counts = [(files[file][covered], files[file][known]) if file in files else (0, 1) for file in modules]
            parts.append([sum(part) for part in zip(*counts, strict=True)])
        if any(taken < floor * total for taken, total in parts):
            below.append(name)
        texts = [f"{taken}/{total} {taken / max(total, 1):6.1%}" for taken, total in parts]
        lines.append("  ".join([f"{name:14}", *(f"{text:>14}" for text in texts)]))
    return lines, below


def main():
    """Measure, print the table and what is missing, and exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true", help="list lines and branches that no test takes")
    parser.add_argument(
        "--others", action="store_true", help="print what has pytest leave the tests of this script out"
    )
    given = parser.parse_args()
    if given.others:
        print(" ".join(f"--ignore={file}" for file in tests_of_all()))
        return 0
    failed = measure()
    coverage("combine", "--quiet", check=True)
    coverage("json", "--quiet", "-o", str(DATA / "report.json"), check=True)
    lines, below = judged(json.loads((DATA / "report.json").read_text(encoding="utf-8")))
    if given.missing or below:
        coverage("report", "--show-missing", "--skip-covered")
    print("\n".join([*lines, "left out:", *left_out()]))
    if below:
        print(f"below {FLOOR:.0%}: {', '.join(below)}")
    return failed or (1 if below else 0)


if __name__ == "__main__":
    sys.exit(main())
