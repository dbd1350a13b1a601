"""What every text that people write is."""

import pytest
from pydantic import TypeAdapter

from labctl.core.model import LONGEST, Line


def test_a_line_is_one_line_that_every_format_holds() -> None:
    line = TypeAdapter(Line)
    assert line.validate_python("größer, 90 µm") == "größer, 90 µm"
    for text in ("a\nb", "a\tb", "a\x1bb", "x" * (LONGEST + 1)):
        with pytest.raises(ValueError, match=r"expected one line|at most 200 characters"):
            line.validate_python(text)
