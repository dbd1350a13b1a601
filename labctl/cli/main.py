"""The command line: the exit code and the one message with which every error ends."""

import errno
import json
import os
import re
import signal
import sys
import traceback
from typing import Any, NoReturn

import typer

from labctl.cli.commands import app
from labctl.cli.options import plainly
from labctl.core.errors import LabError
from labctl.core.exit_codes import ExitCode
from labctl.core.texts import visible
from labctl.terminal.outputs import sturdy_outputs

_OF_THE_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC)
"""What a file or folder does not allow, which is no bug wherever it is met."""

_UsageError: Any = typer.BadParameter.__base__
"""Whatever typer finds wrong with a command line; it exports none but this descendant."""


def _refuse_usage(error: Any) -> NoReturn:
    """Leave with one message about the command line, and the command that explains it."""
    context = error.ctx
    if not error.message and not isinstance(error, typer.BadParameter):  # without a command the help was printed
        sys.exit(ExitCode.REFUSED)
    text = re.sub(r"^Invalid value(?: for )?'?([^':]*)'?: ", _with_value, error.format_message())
    commands = getattr(context.command, "commands", {}) if context else {}
    if text.startswith("No such command") and "Did you mean" not in text and commands:
        text = f"{text.rstrip('.')}; expected one of {', '.join(commands)}"
    text = _with_quotes(_in_our_words(text))
    text = plainly(text if text[1:2].isupper() else text[:1].lower() + text[1:]).rstrip(".")
    _fail(ExitCode.REFUSED, f"refused: {text}; see: {context.command_path if context else 'labctl'} --help")


def _in_our_words(text: str) -> str:
    """Return the message about a file that this user may not read as all others are."""
    return re.sub(r"[Pp]ath '(.+)' is not readable\.?", r"\1 may not be read by this user; its owner can open it", text)


def _with_quotes(text: str) -> str:
    """Return the message about a word too many with a hint, if it may be the rest of the value of an option."""
    found = re.search(r"unexpected extra argument\(?s?\)? \((\S+?)[ )]", text)
    at = sys.argv.index(found[1]) if found and found[1] in sys.argv else 0
    if at < 3 or not sys.argv[at - 2].startswith("--"):
        return text
    whole = f"{sys.argv[at - 2]} '{sys.argv[at - 1]} {sys.argv[at]}'"
    return f"{text.rstrip('.')}; a value with a blank stands in quotes, in PowerShell one with a comma too: {whole}"


def _with_value(match: re.Match[str]) -> str:
    """Return an option as it was given, with its value if that can be told."""
    name = match[1].split(" / ")[0]
    for word, after in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if word == name or word.startswith(f"{name}="):
            return f"{word if '=' in word else f'{name} {after}'}: "
    return f"{name}: "


class _Interrupted(BaseException):
    """^C outside of a run."""


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise _Interrupted


def _fail(code: ExitCode, message: str) -> NoReturn:
    """Leave with `code`, one message for the operator, and with --json one line that says the same."""
    print(f"labctl: {visible(message)}", file=sys.stderr)
    if "--json" in sys.argv:
        outcome = "refused" if code is ExitCode.REFUSED else code.status
        print(json.dumps({"outcome": outcome, "exit": code, "path": None, "dies": [], "reason": message}))
    sys.exit(code)


def main() -> None:
    """Run the command line; every error leaves with its documented exit code and one message for the operator.

    What cannot be printed ends nothing: the command is carried out, and then leaves with 5 if it would with 0 or 1.
    """
    with sturdy_outputs() as output:
        try:
            _run()
        except SystemExit as left:
            output.flush()
            if output.error is not None and left.code in (None, ExitCode.GOOD, ExitCode.OTHER_BIN):
                reason = output.error.strerror or output.error
                print(f"labctl: standard output cannot be written: {reason}", file=sys.stderr)
                sys.exit(ExitCode.STORAGE)
            raise


def _run() -> None:
    # the matrices here are small: a second BLAS thread costs more than it gives; numpy reads this when it is imported
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGINT, _interrupt)
    try:
        sys.exit(app(next(iter(sys.argv[1:]), ""))(prog_name="labctl", standalone_mode=False))
    except typer.Abort:  # no answer to a question
        _fail(ExitCode.OPERATOR, "interrupted")
    except _UsageError as error:
        _refuse_usage(error)
    except LabError as error:
        code = error.ends_with
        _fail(code, f"refused: {error}" if code is ExitCode.REFUSED else str(error))
    except _Interrupted:
        _fail(ExitCode.OPERATOR, "interrupted")
    except Exception as error:
        if isinstance(error, OSError) and error.filename and error.errno in _OF_THE_PLACE:
            _fail(
                ExitCode.STORAGE,
                f"{error.filename}: {error.strerror}; expected a place that this user may use",
            )
        traceback.print_exc()
        _fail(ExitCode.BUG, "this is a bug of ours; please report it with the lines above")
