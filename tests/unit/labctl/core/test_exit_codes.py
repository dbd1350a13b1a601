"""Exit codes are declared once, and the docs say the same."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labctl.cli.commands import app
from labctl.core.errors import BenchError, InstrumentError, LabError, LeftUnverified, NotThereError, StorageError
from labctl.core.exit_codes import GRAVITY, ExitCode, Status, gravest, headline, table
from labctl.core.outcome import Outcome, Stopped

PAGE = Path(__file__).parents[4] / "docs" / "exit-codes.md"
DOCS = PAGE.read_text(encoding="utf-8")


def page() -> str:
    """Return the page with the table of the declaration in place of its table."""
    before, _, rest = DOCS.partition("| code |")
    return f"{before}{table()}\n\n{rest.partition(chr(10) * 2)[2]}"


def test_the_docs_have_the_table_of_the_declaration() -> None:
    assert page() == DOCS
    assert all(code.headline and code.meaning for code in ExitCode)


def test_the_help_of_the_command_line_lists_every_code() -> None:
    done = CliRunner().invoke(app(), ["--help"], env={"COLUMNS": "120"})
    assert re.findall(r"^ +(\d+) (\S.*?) *$", done.output.partition("Exit codes:")[2], re.MULTILINE) == [
        (str(int(code)), code.headline) for code in sorted(ExitCode)
    ]


def test_the_docs_name_the_status_of_every_code() -> None:
    for status in Status:
        codes = [str(int(c)) for c in ExitCode if c.status is status and c is not ExitCode.REFUSED]
        assert f"`{status}` for {', '.join(codes[:-1])} and {codes[-1]}" in DOCS


def test_a_code_of_another_version_has_a_headline() -> None:
    assert headline(9) == "ended with exit code 9"


def test_the_docs_name_the_order_of_gravity() -> None:
    order = ", ".join(str(int(code)) for code in GRAVITY)
    assert f"in the order {order}." in DOCS
    assert set(GRAVITY) == set(ExitCode) - {ExitCode.REFUSED}


def test_codes_are_plain_numbers_to_the_outside() -> None:
    outcome = Outcome(Status.ABORT, exit_code=Stopped.exit_code)
    assert json.dumps({"exit_code": outcome.exit_code}) == '{"exit_code": 4}'
    assert f"{outcome.exit_code} {ExitCode.BUG}" == "4 70"
    assert gravest([]) == 0
    assert ExitCode(5) is ExitCode.STORAGE


@pytest.mark.parametrize(
    ("error", "before", "after"),
    [(BenchError, 2, 3), (InstrumentError, 2, 3), (StorageError, 5, 5), (NotThereError, 2, 3), (LeftUnverified, 6, 6)],
)
def test_what_stops_a_run_before_its_first_die_is_no_refusal_any_more(
    error: type[LabError], before: int, after: int
) -> None:
    one = error("because")
    assert one.ends_with == before
    one.begun = True
    assert one.ends_with == after


def test_every_error_has_a_documented_code() -> None:
    kinds = [LabError]
    for kind in kinds:
        assert isinstance(kind.exit_code, ExitCode), kind
        kinds += [k for k in kind.__subclasses__() if k.__module__.startswith(("labctl.core", "labctl.execution"))]
    assert len(kinds) > 8


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
