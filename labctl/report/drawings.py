"""Drawings of what protocols declare: one that cannot be drawn costs itself only, and its protocol is named."""

from collections.abc import Iterator
from contextlib import contextmanager

from labctl.core.errors import BenchError, StorageError
from labctl.core.picture import Declared
from labctl.core.plugins import PROTOCOLS, registered

_SHOWN = 8
"""Failures that a message names."""


class Drawings:
    """Keeps what could not be drawn, in words."""

    def __init__(self) -> None:
        self._failures: dict[tuple[Declared, str], str] = {}

    @property
    def failures(self) -> list[str]:
        """What could not be drawn, each once."""
        return list(self._failures.values())

    def why(self, declared: Declared) -> str:
        """Return why a picture could not be drawn, "" if it could."""
        return next((text for (one, _), text in self._failures.items() if one == declared), "")

    @contextmanager
    def of(self, declared: Declared) -> Iterator[None]:
        """Draw a picture inside; what it raises is kept if its protocol is not of this suite, else it is a bug of ours.

        Raises:
            StorageError: its data cannot be read.
        """
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            if is_ours(declared):
                raise
            self.failed(declared, error)

    def failed(self, declared: Declared, error: Exception) -> None:
        """Keep that a picture could not be drawn; each is kept once."""
        picture = declared.picture
        reason = f"{type(error).__name__}: {error}"
        self._failures[declared, reason] = (
            f"the picture '{picture.title}' of the table '{picture.table}' cannot be drawn: it is declared by "
            f"{_by(declared)}: {reason}"
        )

    def refuse(self) -> None:
        """Raise BenchError with what could not be drawn, once all else is made."""
        if self.failures:
            more = [f"and {len(self.failures) - _SHOWN} more"] if len(self.failures) > _SHOWN else []
            raise BenchError("; ".join([*self.failures[:_SHOWN], *more, "all else was made"]))


def is_ours(declared: Declared) -> bool:
    """Return whether a protocol of this suite declares a picture."""
    return any(plugin.name == declared.protocol and not plugin.foreign for plugin in registered(PROTOCOLS))


def _by(declared: Declared) -> str:
    """Return who declares a picture, in words."""
    if not declared.protocol:
        return "this run"
    origins = [plugin.origin for plugin in registered(PROTOCOLS) if plugin.name == declared.protocol]
    where = f"of {origins[0]}, which is not part of this suite" if origins else "which is not installed here"
    return f"'{declared.protocol}'{'' if origins else ','} {where}"
