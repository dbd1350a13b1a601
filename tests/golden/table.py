"""Other people's software against our emulators, as one table: `python tests/golden/table.py` runs it, writes the page.

A row is a test of `test_judge_*.py`. What is tried are its cases, or what it says it has tried (`record_property`), and
accepted are those that passed. Clients, families and disagreements are listed here; versions are those installed.
Judges that read a folder take it from the environment, as they say themselves; without it their rows say so.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "verified-against.md"
BEGIN, END = "<!-- judges: begin -->", "<!-- judges: end -->"


@dataclass(frozen=True)
class Judge:
    """Who judges what in a file.

    Args:
        clients: names of their packages by how the names of tests begin; "" for all others.
        disagreements: what came of them, by the name of the test.
        folder: variable of the environment that names a clone of theirs.
    """

    family: str
    clients: Mapping[str, tuple[str, ...]]
    disagreements: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""


PYMEASURE, QCODES = ("pymeasure",), ("qcodes",)
JUDGES: Mapping[str, Judge] = {
    "test_judge_b1500.py": Judge("B1500A, E5270B", {"test_qcodes": QCODES, "test_pymeasure": PYMEASURE}),
    "test_judge_daffodil.py": Judge("Daffodil", {"": ("daffodil-lib",)}, folder="DAFFODIL_LIB"),
    "test_judge_daffodil_library.py": Judge("Daffodil, their library", {"": ("daffodil-lib",)}, folder="DAFFODIL_LIB"),
    "test_judge_keithley2600.py": Judge("2602B", {"": ("keithley2600",)}),
    "test_judge_pyarc2.py": Judge("ArC TWO, calls", {"": ("pyarc2",)}),
    "test_judge_pymeasure.py": Judge("2602B", {"": PYMEASURE}),
    "test_judge_pymeasure_2400.py": Judge(
        "2400",
        {"": PYMEASURE},
        {"test_force_measure_compliance_off": "ours: `:MEASure` left concurrent measurements off; mended"},
    ),
    "test_judge_pymeasure_2450.py": Judge(
        "2450",
        {"": PYMEASURE},
        {
            "test_force_measure_limit_off": "theirs: `reset` sends `:*CLS`, which IEEE 488.2 (7.6.1.2) has not",
            "test_its_statistics_are_those_of_another_instrument": "theirs: a 2450 answers one number, not three",
        },
    ),
    "test_judge_pymeasure_81160a.py": Judge(
        "81160A",
        {"": PYMEASURE},
        {"test_waveforms_are_not_emulated_and_refused": "none: not emulated, and refused"},
    ),
    "test_judge_pymeasure_velox.py": Judge("Velox, words of GPIB", {"": PYMEASURE}),
    "test_judge_pyvisa.py": Judge("links", {"": ("pyvisa", "pyvisa-py")}),
    "test_judge_qcodes_b2200.py": Judge(
        "B2200A",
        {"": QCODES},
        {
            "test_the_exchanges_of_its_simulation_are_answered_alike": "theirs: an empty error queue is unquoted in "
            "the simulation, and quoted in the user's guide"
        },
    ),
    "test_judge_sentio.py": Judge("SENTIO", {"": ("sentio-prober-control",)}),
    "test_judge_states.py": Judge("2602B", {"": ("pymeasure", "keithley2600")}),
    "test_judge_tektronix_scripts.py": Judge(
        "2602B",
        {"": ("tektronix/keithley",)},
        {
            "test_every_script_runs_to_its_end_or_ends_by_what_is_its_own": "none: three want the pulser of a "
            "2601B-PULSE and one three 2651As; theirs: a name that is never set, and a value that is asked for twice"
        },
        folder="KEITHLEY_SCRIPTS",
    ),
}


def judged_in(path: Path) -> list[str]:
    """Return the names of the tests of a file, in its order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]


def scenario(test: str) -> str:
    """Return the name of a test in words.

    >>> scenario("test_its_buffer_fills")
    'its buffer fills'
    """
    return test.removeprefix("test_").replace("_", " ")


class Counted:
    """Counts what passed and what was tried, by file and test; a plug-in of pytest."""

    def __init__(self) -> None:
        self.tried: dict[tuple[str, str], int] = {}
        self.accepted: dict[tuple[str, str], int] = {}
        self.skipped: set[tuple[str, str]] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count one phase of a case."""
        file, _, rest = report.nodeid.partition("::")
        key = Path(file).name, rest.partition("[")[0]
        if report.skipped:
            self.skipped.add(key)
        elif report.when == "call" or report.failed:
            number = int(dict(report.user_properties).get("tried", 1))
            accepted = int(dict(report.user_properties).get("accepted", number))
            self.tried[key] = self.tried.get(key, 0) + number
            self.accepted[key] = self.accepted.get(key, 0) + (accepted if report.passed else 0)


def _version(package: str, folder: str) -> str:
    """Return a package with its version, or with the commit of the clone."""
    if folder:
        run = subprocess.run(
            ["git", "-C", folder, "log", "-1", "--format=%h"], capture_output=True, text=True, check=True
        )
        return f"{package} at {run.stdout.strip()}"
    return f"{package} {metadata.version(package)}"


def rows(counted: Counted, folders: Mapping[str, str]) -> Iterable[str]:
    """Yield the lines of the table; `folders` by the variables that name them."""
    yield "| client | emulator | scenario | tried | accepted | disagreements |"
    yield "|---|---|---|--:|--:|---|"
    for file, judge in JUDGES.items():
        for test in judged_in(HERE / file):
            names = next(names for begin, names in judge.clients.items() if test.startswith(begin))
            key, folder = (file, test), folders.get(judge.folder, "")
            ran = key in counted.tried
            client = ", ".join(_version(name, folder) if ran else name for name in names)
            tried, accepted = (str(count[key]) if ran else "not run" for count in (counted.tried, counted.accepted))
            doubt = judge.disagreements.get(test, "none" if ran else "")
            yield f"| {client} | {judge.family} | {scenario(test)} | {tried} | {accepted} | {doubt} |"


def table_in(page: str) -> str:
    """Return the generated part of the page."""
    return page.partition(BEGIN)[2].partition(END)[0]


def listed(page: str) -> list[tuple[str, str]]:
    """Return (emulator, scenario) of every row of the page."""
    cells = [re.split(r" \| ", line.strip("| \n")) for line in table_in(page).splitlines() if line.startswith("| ")]
    return [(row[1], row[2]) for row in cells[1:]]


def main() -> int:
    """Run all judges, with further words for pytest, and write the table; return pytest's exit code."""
    counted = Counted()
    words = ["-q", "-o", "addopts=--import-mode=importlib", *(str(HERE / file) for file in JUDGES), *sys.argv[1:]]
    code = pytest.main(words, plugins=[counted])
    page = PAGE.read_text(encoding="utf-8")
    table, (before, _, rest) = "\n".join(rows(counted, os.environ)), page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8", newline="\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
