"""Generic instruments in the twin of a bench, in place of those whose drivers name no emulator.

They are driven through the same interface, with the capabilities that the driver declares, and act on the same world;
what they do not show is the driver itself.
"""

from typing import Any, overload

from pydantic import ValidationError

from instruments.bench import Bench
from instruments.board_bench import BOARD, AnyBench, BoardBench
from instruments.entry import Entry
from instruments.generic_source import GenericSourceOptions
from labctl.core.driver import DriverKind, Wire
from labctl.core.errors import BenchError

_NAMES = {
    DriverKind.SOURCE: "a generic source",
    DriverKind.MATRIX: "a generic matrix",
    DriverKind.PROBER: "a generic prober",
    DriverKind.PULSES: "nothing",
    DriverKind.BOARD: "a simulated die",
}


def stand_ins(bench: AnyBench) -> dict[str, str]:
    """Return the instruments that a generic one stands in for in the twin: kind and driver, by name."""
    return {
        name: f"{_NAMES[entry.declaration.kind]} in place of driver '{entry.driver}'"
        for name, entry in bench.instruments.items()
        if entry.emulator is None and entry.declaration.wire is not Wire.OPERATOR
    }


def require_sockets(bench: AnyBench) -> None:
    """Raise BenchError if an instrument of the twin cannot be on a socket.

    It is one whose driver brings its own connection, and has its library emulated, or a board without an emulator.
    """
    unserved = [
        name
        for name, entry in bench.instruments.items()
        if (entry.kind is DriverKind.BOARD if entry.emulator is None else entry.declaration.wire is Wire.NONE)
    ]
    if unserved:
        raise BenchError(f"{', '.join(unserved)}: no emulator that can be on a socket; use --sim bytes")


def twin_text(bench: AnyBench, sim: str) -> str:
    """Return in operator words what the twin of a bench is, and which of its instruments are generic."""
    generic = "; ".join(f"{name} is {text}" for name, text in stand_ins(bench).items())
    return f"its twin over {sim}" + (f" ({generic})" if generic else "")


@overload
def with_stand_ins(bench: Bench) -> Bench: ...
@overload
def with_stand_ins(bench: BoardBench) -> BoardBench: ...
@overload
def with_stand_ins(bench: AnyBench) -> AnyBench: ...
def with_stand_ins(bench: AnyBench) -> AnyBench:
    """Return the bench of a twin: generic instruments where drivers name no emulator, all else as in `bench`.

    Emulated instruments have serial numbers of their own, so none is pinned.
    A board is left as it is: the twin puts a simulated die in its place; its prober may be a generic one.

    Raises:
        BenchError: the capabilities that a driver declares are none of a source; or it is a pulse source.
    """
    if not isinstance(bench, Bench):
        entries = {name: entry.model_copy(update={"serial": None}) for name, entry in bench.instruments.items()}
        generic = {name: _generic(name, entries[name]) for name in stand_ins(bench) if name != BOARD}
        return bench.with_entries({**entries, **generic})
    pinned = {name: entry for name, entry in bench.instruments.items() if entry.serial is not None}
    replaced = {name: entry.model_copy(update={"serial": None}) for name, entry in pinned.items()}
    replaced |= {name: _generic(name, bench.instruments[name]) for name in stand_ins(bench)}
    if not replaced:
        return bench
    given = {key: getattr(bench, key) for key in Bench.model_fields}
    return Bench.model_validate({**given, "instruments": {**bench.instruments, **replaced}})


def _generic(name: str, entry: Entry) -> Entry:
    """Return the entry of the generic instrument of a kind; BenchError if there is none."""
    if entry.kind is DriverKind.PULSES:
        raise BenchError(f"{name}: driver '{entry.driver}' names no emulator, and there is no generic pulse source")
    keys: dict[str, Any] = {"stands_for": entry.driver}
    try:
        if entry.kind is DriverKind.SOURCE:
            keys = GenericSourceOptions.of(entry.capabilities, entry.driver).model_dump()
        address = {"resource": name} if entry.address is None else entry.address.model_dump(exclude_unset=True)
        common = {"driver": f"generic_{entry.kind}", **address, "patience": entry.patience}
        return Entry.model_validate({**common, **keys})
    except ValidationError as error:
        reasons = "; ".join(line["msg"] for line in error.errors())
        raise BenchError(f"{name}: the capabilities that driver '{entry.driver}' declares: {reasons}") from error
