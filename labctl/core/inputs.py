"""Inputs: what a procedure needs besides its settings and its die, and a stage of a campaign names as a file.

A procedure declares an input as a field whose type is an `Input`; the field is a key of its stage. The package that
knows how such a file is read registers an `InputReader` under the entry points ``labctl.inputs``. The reader gets the
bytes from `InputFiles`, which keeps them with the run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Any, Protocol, Self, Union, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema


class Input:
    """Base of a value that a stage names as a file, such as trained networks or a data set."""

    def for_die(self, name: str) -> Self:
        """Return what the die `name` gets of it; the same for every die unless a subclass says otherwise."""
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(cls)


class InputFiles(Protocol):
    """Files as a reader of an input sees them; all that is read is kept with the run, byte for byte."""

    def read(self, path: str) -> bytes:
        """Return the content of a file. Raises OSError."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder at `path`."""
        ...

    def is_folder(self, path: str) -> bool:
        """Return whether `path` is a folder."""
        ...

    def shipped(self, name: str, content: bytes) -> bytes:
        """Return `content`, which comes with a distribution: the run records it by `name` and digest, with no copy."""
        ...


@dataclass(frozen=True)
class InputReader:
    """How a text of a stage becomes an input.

    Args:
        kind: the type of input that it reads.
        read: returns the input that a path, or one of `names`, stands for. It raises BenchError or ValueError if the
            content is wrong.
        about: what the text names, for the schema and for messages.
        names: texts that are no paths.
    """

    kind: type[Input]
    read: Callable[[str, InputFiles], Input]
    about: str
    names: tuple[str, ...] = ()


def input_type(annotation: Any) -> type[Input] | None:
    """Return the type of input that a field with this annotation holds; None if it holds something else.

    >>> input_type(Input | None) is Input, input_type(int)
    (True, None)
    """
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = (kind for kind in choices if isinstance(kind, type) and issubclass(kind, Input))
    return next(kinds, None)
