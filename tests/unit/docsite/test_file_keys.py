"""Keys of files as tables: sections under their paths, alternatives under what chooses them."""

from typing import Literal

from pydantic import BaseModel, Field

from docsite.file_keys import render
from labctl import files
from labctl.core.units import Volt


class Inner(BaseModel):
    """Inside. More of it."""

    level: Volt = Field(default=0.1, gt=0, description="how high")
    kind: Literal["one", "two"] = "one"


class Outer(BaseModel):
    """A file."""

    name: str
    inner: Inner
    more: list[Inner] = []
    count: int = Field(default=3, ge=0, le=9)


def test_sections_stand_under_the_path_that_leads_to_them() -> None:
    text = render(files.schema(Outer))
    assert "| `name` | text | **required** |  |" in text
    assert "| `inner` | [inner](#inner) | **required** | inside |" in text
    assert "| `more` | list of [inner](#inner) | empty | inside |" in text
    assert "| `count` | whole number, from 0 to 9 | `3` |  |" in text
    assert text.count("## ") == 1
    assert "| `kind` | `one` or `two` | `one` |  |" in text
    assert "how high |" in text
