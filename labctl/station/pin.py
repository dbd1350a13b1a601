"""Write the serial numbers of a bench's instruments into its file, and leave all else in it as it is."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from instruments.bench_file import read_bench
from instruments.board_bench import AnyBench
from instruments.serials import mismatch, model_of, serial_of
from labctl.core.errors import BenchError
from labctl.files.insert import with_keys

_MARK = "\ufeff"


def pin_serials(path: Path, bench: AnyBench, identities: Mapping[str, str]) -> list[str]:
    """Pin every instrument that answered with a serial number and has none in the file; return what was done, in words.

    Args:
        path: the bench file.
        bench: as read from it.
        identities: of the instruments, by name; empty for one that did not answer.

    Raises:
        BenchError: an instrument has another number than is pinned, or the file cannot be changed; nothing is written.
    """
    others = [
        f"{n}: {t}"
        for n, e in bench.instruments.items()
        if identities.get(n) and (t := mismatch(e.serial, identities[n], model_of(e)))
    ]
    if others:
        raise BenchError(
            f"{path}: {'; '.join(others)}; nothing is written. Take 'serial' out of the file if it is right so"
        )
    serials: dict[str, str] = {}
    lines: list[str] = []
    for name, entry in bench.instruments.items():
        identity = identities.get(name, "")
        serial = serial_of(identity, model_of(entry)) if identity else None
        if entry.serial is not None:
            lines.append(f"{name} is pinned to {entry.serial} already")
        elif serial is not None:
            serials[name] = serial
        else:
            lines.append(f"{name} is not pinned: " + ("its identity has no serial number" if identity else "no answer"))
    if serials:
        _write(path, bench, serials)
    return [*(f"{name} is pinned to {serial} in {path}" for name, serial in serials.items()), *lines]


def _write(path: Path, bench: AnyBench, serials: Mapping[str, str]) -> None:
    """Write serial numbers into a bench file, after a check that it then says what it said, and these."""
    target = path.resolve()
    new = target.with_name(f".{target.name}.new")
    try:
        text = target.read_bytes().decode("utf-8")
        mark = _MARK if text.startswith(_MARK) else ""
        keys: dict[tuple[str, ...], str] = {(*bench.place(n), "serial"): serial for n, serial in serials.items()}
        try:
            new.write_bytes((mark + with_keys(text.removeprefix(_MARK), keys)).encode("utf-8"))
            shutil.copymode(target, new)
            read = read_bench(new).value
            expected = {
                n: e.model_copy(update={"serial": serials.get(n, e.serial)}) for n, e in bench.instruments.items()
            }
            if read != bench.with_entries(expected):
                raise BenchError("the file would say something else afterwards")
            with new.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(new, target)
        finally:
            with suppress(OSError):
                new.unlink()
    except (BenchError, OSError, UnicodeError) as error:
        lines = ", ".join(f'{name}: serial: "{serial}"' for name, serial in serials.items())
        raise BenchError(f"{path} is not changed: {error}; write by hand: {lines}") from error
