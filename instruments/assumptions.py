"""The ledger of what is assumed of instruments: rows of `assumptions.yaml`, each with the way it is checked.

Every place that says so is marked in code, examples and documents, and every mark has its row, so that the first day at
a bench can go through all of them.
"""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from labctl import files
from labctl.core.model import Model

LEDGER = Path(__file__).with_suffix(".yaml")


class How(StrEnum):
    """How an assumption is checked."""

    READ = "read"
    """By queries that set nothing."""
    SET = "set"
    """By a setting that moves nothing and energises nothing; only where it was asked for."""
    ENERGISED = "energised"
    """By outputs that are on and reach no die; only where it was asked for."""
    PERSON = "person"
    """By a person, by a step of docs/first-day-at-the-bench.md, or of docs/first-day-at-the-board.md."""


class Mark(Model):
    """A line that is marked as an assumption: its file, from the root of the repository, and words of it."""

    file: str
    words: str = Field(min_length=1)


class Assumption(Model):
    """One row of the ledger."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    statement: str = Field(description="what is taken for true")
    drivers: tuple[str, ...] = Field(default=(), description="drivers that it concerns; none: the whole bench")
    value: str = Field(default="", description="key of the bench file that has the figure, as section.key")
    how: How
    step: str = Field(
        pattern=r"^\d\.\d+$",
        description="step of docs/first-day-at-the-bench.md, from 8 on of docs/first-day-at-the-board.md",
    )
    tools: str = Field(default="", description="what a person needs for it")
    why: str = Field(default="", description="why no program can check it")
    marks: tuple[Mark, ...] = Field(min_length=1)


class Ledger(Model):
    """All assumptions, and the marked lines that only explain the mark."""

    legend: tuple[Mark, ...]
    assumptions: tuple[Assumption, ...]


def ledger() -> Ledger:
    """Return the ledger that is installed; BenchError with file and line if it is not one."""
    return files.read(LEDGER, Ledger).value
