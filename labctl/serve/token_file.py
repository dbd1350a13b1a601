"""The token of the page: printed once on a terminal, or in a file that its owner alone may read; never in a log."""

import os
import re
import secrets
import stat
import sys
from pathlib import Path

from labctl.core.errors import BenchError

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,200}")


def new_token() -> str:
    """Return a new token of 256 random bits."""
    return secrets.token_urlsafe(32)


def token_in(path: Path) -> str:
    """Return the token in a file; one that is not there is made, for its owner alone.

    Raises:
        BenchError: it cannot be read or made, others may read it, or what it holds is no token.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise BenchError(f"{path}: the file of the token cannot be made: {error.strerror or error}") from error
    token = new_token()
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(f"{token}\n")
    return token


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BenchError(f"{path} is no regular file, expected the file of a token")
            if sys.platform != "win32" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise BenchError(
                    f"{path} may be read or written by others, expected a file of its owner alone: chmod 600 {path}, "
                    "and a new token, because this one may be known"
                )
            text = file.read(1000).decode("utf-8", "replace").strip()
    except OSError as error:
        raise BenchError(f"{path}: the file of the token cannot be read: {error.strerror or error}") from error
    if _TOKEN.fullmatch(text) is None:
        raise BenchError(
            f"{path} holds no token, expected one line of at least 32 letters, digits, - and _; a file that is not "
            "there is made with one"
        )
    return text
