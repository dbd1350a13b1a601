"""Exit codes are declared once, and the docs say the same."""

import json
import re
from pathlib import Path

from labctl.core.errors import LabError
from labctl.core.exit_codes import GRAVITY, ExitCode, gravest
from labctl.core.outcome import Outcome, Status, Stopped

DOCS = (Path(__file__).parents[4] / "docs" / "exit-codes.md").read_text(encoding="utf-8")


def test_the_docs_name_every_code_with_its_meaning() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", DOCS, re.MULTILINE)
    assert rows == [(str(int(code)), code.meaning) for code in sorted(ExitCode)]


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


def test_every_error_has_a_documented_code() -> None:
    kinds = [LabError]
    for kind in kinds:
        assert isinstance(kind.exit_code, ExitCode), kind
        kinds += [k for k in kind.__subclasses__() if k.__module__.startswith(("labctl.core", "labctl.execution"))]
    assert len(kinds) > 8
