"""Protocols and readers of inputs, of this suite and of other distributions."""

from functools import cache
from typing import Any

from labctl.core.declaration import kind_of
from labctl.core.errors import BenchError
from labctl.core.figure import Figure
from labctl.core.inputs import InputReader
from labctl.core.names import file_name
from labctl.core.picture import CellMap, Curves
from labctl.core.plugins import INPUTS, PROTOCOLS, Plugin, installed
from labctl.core.procedure import Procedure


@cache
def procedures() -> dict[str, type[Procedure]]:
    """Return every procedure by name; BenchError if one cannot be loaded or is none."""
    kinds = {name: usable(plugin, name) for name, plugin in installed(PROTOCOLS).items()}
    if not kinds:
        raise BenchError("no protocols are registered; 'pip install -e .' in the checkout registers ours")
    return kinds


def usable(plugin: Plugin, name: str = "") -> type[Procedure]:
    """Return the procedure of an entry point, called `name`; BenchError if it cannot be loaded, or cannot be used."""
    kind: type[Procedure] = plugin.load()
    try:
        _require_procedure(plugin, name or plugin.name, kind)
    except BenchError:
        raise
    except Exception as error:  # somebody else's class, which may do anything when it is looked at
        raise BenchError(
            f"the protocol '{plugin.name}' of {plugin.origin} ({plugin.value}) cannot be used: {type(error).__name__}: "
            f"{error}"
        ) from error
    return kind


def _require_procedure(plugin: Plugin, name: str, kind: Any) -> None:
    """Raise BenchError if `kind` is no procedure of the name of its entry point, or its declarations are none."""
    where = f"the protocol '{name}' of {plugin.origin} ({plugin.value})"
    if not (isinstance(kind, type) and issubclass(kind, Procedure)):
        raise BenchError(f"{where} is not a Procedure")
    if not isinstance(getattr(kind, "name", None), str):
        raise BenchError(f'{where} has no name; expected in its class: name: ClassVar[str] = "{name}"')
    try:
        file_name(name)
    except ValueError as error:
        raise BenchError(f"the name of a protocol of {plugin.origin} ({plugin.value}): {error}") from error
    if kind.name != name:
        raise BenchError(f"{where} has the name '{kind.name}' in its class; expected the same")
    for what, of in (("figures", (Figure,)), ("pictures", (CellMap, Curves))):
        declared = getattr(kind, what)
        if type(declared) is not tuple or not all(type(one) in of for one in declared):
            odd = declared if type(declared) is not tuple else next(one for one in declared if type(one) not in of)
            raise BenchError(
                f"{where} declares {what} with {kind_of(odd)}; expected a tuple of "
                f"{' or '.join(c.__name__ for c in of)}, as labctl.core.procedure.Procedure.{what} is"
            )


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
