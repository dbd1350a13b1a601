"""How a run or a command ends: its exit code, its status, and which of several codes counts.

Every text about an exit code is here: the command line's help, the headline of a run, and ``docs/exit-codes.md``, which
``python tests/unit/labctl/core/test_exit_codes.py`` writes.
"""

from collections.abc import Iterable
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """How a stage, a die or a run ended."""

    SUCCESS = "success"
    ABORT = "abort"
    FAIL = "fail"


class ExitCode(IntEnum):
    """What the command line returns to a script.

    Args:
        status: of a run that ends with this code.
        headline: the code in a few words, as `labctl --help` lists it and a run's headline begins.
        meaning: the code in full.
        advice: what to do then, in Markdown.
    """

    status: Status
    headline: str
    meaning: str
    advice: str

    def __new__(
        cls, value: int, status: Status = Status.FAIL, headline: str = "", meaning: str = "", advice: str = ""
    ) -> "ExitCode":
        """Return the code `value` with its texts."""
        code = int.__new__(cls, value)
        code._value_, code.status, code.headline, code.meaning, code.advice = value, status, headline, meaning, advice
        return code

    GOOD = (
        0,
        Status.SUCCESS,
        "finished; no die is bad",
        "all good, or `measured` where no acceptance limits were set",
        "",
    )
    OTHER_BIN = (
        1,
        Status.SUCCESS,
        "finished; not every die is good",
        "finished, but at least one die is in a bin other than `good` or `measured`",
        "look at the bins in `labctl show RUN`",
    )
    REFUSED = (
        2,
        Status.FAIL,
        "refused before the start; nothing was energised",
        "refused before the start: files, limits, plan, output folder, a bench that is switched off or in use; "
        "no folder was made, nothing energised",
        "mend what the message names",
    )
    STOPPED = (
        3,
        Status.ABORT,
        "stopped by a rule, a limit, an instrument or an interlock",
        "stopped by a limit while running, by an instrument, or by an interlock",
        "the reason is in `labctl show RUN`",
    )
    OPERATOR = (
        4,
        Status.ABORT,
        "stopped by the operator",
        "stopped by the operator, or the bench was switched off (`labctl off`)",
        "what was measured is sealed; `labctl resume`, after `labctl off --release`",
    )
    STORAGE = (
        5,
        Status.FAIL,
        "stopped because data could not be written or read",
        "storage: data could not be written or read; outputs were made safe first",
        "free space, then look at the named file",
    )
    NOT_OFF = (
        6,
        Status.FAIL,
        "OUTPUTS COULD NOT BE VERIFIED OFF: go to the bench",
        "outputs could not be verified off, or what drives them did not end",
        "**go to the bench**",
    )
    BUG = 70, Status.FAIL, "stopped by a bug of ours; please report it", "a bug of ours", "report it with the traceback"


GRAVITY = (
    ExitCode.NOT_OFF,
    ExitCode.BUG,
    ExitCode.STORAGE,
    ExitCode.STOPPED,
    ExitCode.OPERATOR,
    ExitCode.OTHER_BIN,
    ExitCode.GOOD,
)
"""Exit codes of runs that began, the gravest first."""


def gravest(codes: Iterable[int]) -> ExitCode:
    """Return the gravest of `codes`; GOOD if there is none.

    >>> int(gravest({0, 1, 4})), int(gravest({3, 6})), int(gravest({}))
    (4, 6, 0)
    """
    present = set(codes)
    return next(code for code in GRAVITY if code in present or code is ExitCode.GOOD)


def headline(code: int) -> str:
    """Return the headline of `code`; of a code of another version, its number.

    >>> headline(4), headline(8)
    ('stopped by the operator', 'ended with exit code 8')
    """
    return next((c.headline for c in ExitCode if c == code), f"ended with exit code {code}")


def table() -> str:
    """Return the table of the exit codes in Markdown."""
    rows = [f"| {code} | {code.meaning} | {code.advice}{' ' * bool(code.advice)}|" for code in sorted(ExitCode)]
    return "\n".join(["| code | meaning | what to do |", "|---|---|---|", *rows])
