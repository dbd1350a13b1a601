"""Protocols and readers of inputs, of this suite and of other distributions."""

from functools import cache
from typing import Any

from labctl.core.errors import BenchError
from labctl.core.figure import Figure
from labctl.core.inputs import InputReader
from labctl.core.names import file_name
from labctl.core.picture import Picture
from labctl.core.plugins import INPUTS, PROTOCOLS, installed
from labctl.core.procedure import Procedure


@cache
def procedures() -> dict[str, type[Procedure]]:
    """Return every procedure by name; BenchError if one cannot be loaded or is none."""
    kinds: dict[str, type[Procedure]] = {}
    for name, plugin in installed(PROTOCOLS).items():
        kind = plugin.load()
        if not (isinstance(kind, type) and issubclass(kind, Procedure)):
            raise BenchError(f"the protocol '{name}' of {plugin.origin} ({plugin.value}) is not a Procedure")
        if not isinstance(getattr(kind, "name", None), str):
            raise BenchError(
                f"the protocol '{name}' of {plugin.origin} ({plugin.value}) has no name; expected in its class: "
                f'name: ClassVar[str] = "{name}"'
            )
        try:
            kinds[file_name(name)] = kind
        except ValueError as error:
            raise BenchError(f"the name of a protocol of {plugin.origin} ({plugin.value}): {error}") from error
        if kind.name != name:
            raise BenchError(
                f"the protocol '{name}' of {plugin.origin} ({plugin.value}) has the name '{kind.name}' in its class; "
                "expected the same"
            )
        for what, of in (("figures", Figure), ("pictures", Picture)):
            if not isinstance(declared := getattr(kind, what), tuple) or not all(isinstance(d, of) for d in declared):
                raise BenchError(
                    f"the protocol '{name}' of {plugin.origin} ({plugin.value}) declares {what} {declared!r:.80}; "
                    f"expected a tuple, as labctl.core.procedure.Procedure.{what} is"
                )
    if not kinds:
        raise BenchError("no protocols are registered; 'pip install -e .' in the checkout registers ours")
    return kinds


@cache
def input_readers() -> tuple[InputReader, ...]:
    """Return every reader of inputs.

    Raises:
        BenchError: an entry cannot be loaded or is no reader, or two read one type of input.
    """
    readers: list[InputReader] = []
    for name, plugin in installed(INPUTS).items():
        reader, where = plugin.load(), f"'{name}' of {plugin.origin} ({INPUTS}: {plugin.value})"
        if not isinstance(reader, InputReader):
            raise BenchError(f"{where} is not an InputReader")
        if any(other.kind is reader.kind for other in readers):
            raise BenchError(f"{where} reads a {reader.kind.__name__}, and another entry does; uninstall one of them")
        readers.append(reader)
    return tuple(readers)


def origin_of(item: Any) -> str:
    """Return where a class or function is defined, for messages.

    >>> origin_of(origin_of)
    'labctl.station.plugins:origin_of'
    """
    return f"{item.__module__}:{item.__qualname__}"
