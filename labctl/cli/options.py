"""Options that several commands share, and what reads or prints their values."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from labctl.core.errors import BenchError, StorageError
from labctl.core.secrets import without_secrets
from labctl.core.texts import visible

LONGEST = 1000
"""Characters of a text that is written into a record."""


def one_line(text: str) -> str:
    r"""Return a text of the command line as it is kept; nobody who asks for a stop is refused because of a tab.

    >>> print(one_line("  smoke\n\x1b[2J "))
    smoke \x1b[2J
    """
    return visible(without_secrets(" ".join(text.split())))[:LONGEST]


def command_line() -> list[str]:
    """Return the words of the command line as a run keeps them: without secrets."""
    return [without_secrets(word) for word in sys.argv]


Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="change a value of the campaign file, e.g. stages.0.survey.v_read='80 mV'",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="end with one line of JSON on standard output; all else is on standard error"),
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="seed of the simulated world (default: the campaign's)")
]
BENCH = typer.Option("--bench", metavar="FILE", help="bench file: the real bench, unless --sim is given too")
BenchPath = Annotated[Path | None, BENCH]
Sim = Annotated[
    str | None,
    typer.Option("--sim", metavar="bytes|tcp", help="the twin of the bench: in this process, or on sockets"),
]
Faults = Annotated[
    str | None,
    typer.Option(
        "--faults",
        metavar="typical",
        help="rehearse a night: faults of a plausible one, drawn by --seed, happen to the simulated dies, or to the "
        "instruments of the twin (--bench with --sim); 'plan' lists them. Never with a real bench",
    ),
]
LedgerPath = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help="the stress ledger itself, wherever it is"),
]
CampaignPath = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="campaign file (YAML)")]

AcceptPlace = Annotated[
    bool,
    typer.Option("--accept-place", help="run on a network file system or in a synchronised folder all the same"),
]


def open_to_us(path: Path) -> Path:
    """Return the path of a run; StorageError if this user may not look into it."""
    try:
        closed = path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
    except PermissionError:
        closed = True
    if closed:
        raise StorageError(
            f"{path}: it may not be read by this user; a run folder is its owner's alone. Expected one that is yours: "
            "ask its owner for a copy, or for the right to read it"
        )
    return path


def open_to_us_all(paths: list[Path]) -> list[Path]:
    """Return the paths of runs; StorageError if this user may not look into one."""
    return [open_to_us(path) for path in paths]


RunFolders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN ...", help="run folder, or several", readable=False, callback=open_to_us_all),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="run folder", readable=False, callback=open_to_us)]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="why, for the record", callback=one_line)]
PrintJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="processes (default: cores + 1, or fewer for little work)")
]
Only = Annotated[str | None, typer.Option("--only", metavar="D03,D22", help="only these dies")]
RetestRun = Annotated[
    Path | None,
    typer.Option(
        "--retest",
        metavar="RUN",
        help="measure dies of this earlier run again, of the same campaign and wafer: those in --bins",
        readable=False,
    ),
]
Bins = Annotated[
    str | None,
    typer.Option(
        "--bins",
        metavar="contact,weak",
        help="with --retest: soft bins (default: all of dies that did not pass); where RUN is a retest itself, "
        "the newest bins of all dies of the first run: add --only for fewer",
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        "--executor", metavar="dask=ADDRESS", help="a Dask cluster that sees the run folder (default: processes here)"
    ),
]


_WORDS = (
    (r"Input should be (?:a valid integer|a valid number)\b.*", "expected a number"),
    (r"Input should be greater than or equal to ", "expected at least "),
    (r"Input should be greater than ", "expected more than "),
    (r"Input should be less than or equal to ", "expected at most "),
    (r"Input should be less than ", "expected less than "),
    (r"Input should be ", "expected "),
)


def plainly(text: str) -> str:
    """Return the message of a library about a value in the words of all others.

    >>> plainly("Input should be greater than or equal to 1"), plainly("Input should be 'half' or 'third'")
    ('expected at least 1', "expected 'half' or 'third'")
    """
    return next((re.sub(found, words, text) for found, words in _WORDS if re.search(found, text)), text)


def names(text: str | None, option: str = "--only") -> tuple[str, ...] | None:
    """Return the names of a list with commas; None if there is no list, BenchError if there is no name in it.

    >>> names("D03, D22")
    ('D03', 'D22')
    """
    if text is None:
        return None
    if not (given := tuple(filter(None, (name.strip() for name in text.split(","))))):
        raise BenchError(f"{option} '{text}': found no name, expected some such as D03,D22 (is a variable empty?)")
    return given


def overrides(pairs: list[str] | None, option: str = "--set") -> dict[str, str]:
    """Return the values of `option` by dotted key; BenchError if one is no KEY=VALUE.

    >>> overrides(["a.b=1 V"])
    {'a.b': '1 V'}
    """
    values = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise BenchError(f"{option} {pair}: expected key=value")
        values[key.strip()] = value
    return values


PATTERNS_OF_A_WORKER = 10_000
"""Patterns of simulated dies, a second or two of work, for which one more process earns its start."""


def most_workers() -> int:
    """Return how many processes work on many simulated dies: cores + 1, because each waits for the disk at times."""
    return (os.cpu_count() or 1) + 1


def default_workers(patterns: int) -> int:
    """Return how many processes work on simulated dies that are predicted to take `patterns` patterns together.

    One more is started for each `PATTERNS_OF_A_WORKER`: with less to do it would cost more than it takes over.
    """
    return min(most_workers(), 1 + patterns // PATTERNS_OF_A_WORKER)
