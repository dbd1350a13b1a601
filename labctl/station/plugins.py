"""Protocols and readers of inputs, of this suite and of other distributions."""

from functools import cache
from typing import Any

from labctl.core import plugins
from labctl.core.declaration import kind_of
from labctl.core.errors import BenchError
from labctl.core.figure import Figure
from labctl.core.inputs import InputReader
from labctl.core.names import file_name
from labctl.core.picture import CellMap, Curves
from labctl.core.plugins import INPUTS, PROTOCOLS, Plugin, installed
from labctl.core.procedure import Procedure
from labctl.core.units import Unit


def procedures() -> dict[str, type[Procedure]]:
    """Return every procedure that can be used, by name; BenchError if one of ours cannot."""
    return _protocols()[0]


def unusable() -> dict[str, str]:
    """Return why protocols of other distributions cannot be used, by name.

    They cost the campaigns that name them, and no other: who writes a protocol ends nobody's night.
    """
    return _protocols()[1]


@cache
def _protocols() -> tuple[dict[str, type[Procedure]], dict[str, str]]:
    kinds: dict[str, type[Procedure]] = {}
    broken: dict[str, str] = {}
    for name in dict.fromkeys(plugin.name for plugin in plugins.registered(PROTOCOLS)):
        of_name = [plugin for plugin in plugins.registered(PROTOCOLS) if plugin.name == name]
        try:
            kinds[name] = usable(plugins.only(of_name), name)
        except BenchError as error:
            if not any(plugin.foreign for plugin in of_name):
                raise
            broken[name] = str(error)
    if not kinds:
        raise BenchError("no protocols are registered; 'pip install -e .' in the checkout registers ours")
    return kinds, broken


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
    for field, info in kind.model_fields.items():
        units = [m.symbol for m in info.metadata if isinstance(m, Unit)]
        if units and isinstance(info.default, str):
            raise BenchError(
                f"{where}: the default of '{field}' is '{info.default}'; expected a number in {units[0] or 'SI units'}"
                ", as files have units and code has SI numbers"
            )
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
    """Return every reader of inputs that can be loaded.

    Raises:
        BenchError: one of ours cannot be loaded, an entry is no reader, or two read one type of input.
    """
    readers: list[InputReader] = []
    for name, plugin in installed(INPUTS).items():
        try:
            reader, where = plugin.load(), f"'{name}' of {plugin.origin} ({INPUTS}: {plugin.value})"
        except BenchError:
            if plugin.foreign:  # doctor says why; a protocol that needs it is refused, and no other
                continue
            raise
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
