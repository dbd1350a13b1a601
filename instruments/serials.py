"""Serial numbers of instruments: read from an identity in many forms, compared in one.

An address tells where an instrument is, not which one it is. A bench file may pin each by its serial number, so that
another box at the same address, of another history and another calibration, is refused before it is used.
"""

from collections.abc import Mapping

from instruments.board_bench import AnyBench
from instruments.entry import Entry
from instruments.identity import fields_of
from labctl.core.errors import BenchError


def model_of(entry: Entry) -> str | None:
    """Return the model that an entry of the bench file expects; None if its driver has one model only."""
    model = getattr(entry.options, "model", None)
    return model if isinstance(model, str) else None


def serial_of(identity: str, model: str | None = None) -> str | None:
    """Return the serial number in an identity, None if it has none: the field behind the model, without a label.

    Args:
        model: that is expected, which tells the fields apart where the maker's name has commas.

    >>> serial_of("Keithley Instruments Inc., Model 2602B, 04000001, 3.2.2")
    '04000001'
    >>> serial_of("ACME;SMU-7;S/N: A12-7;1.0"), serial_of("ACME,SMU,0,1.0"), serial_of("SENTIO 25.1")
    ('A12-7', None, None)
    """
    return fields_of(identity, model).serial or None


def mismatch(pinned: str | None, identity: str, model: str | None = None) -> str:
    """Return how an identity differs from the serial number that is pinned, in operator words; "" if it does not."""
    if pinned is None:
        return ""
    serial = serial_of(identity, model)
    if serial is None:
        return f"the bench file pins serial number {pinned}, and '{identity}' has none"
    return "" if serial == pinned else f"the bench file pins serial number {pinned}, and {serial} answers"


def require_serials(bench: AnyBench, identities: Mapping[str, str]) -> None:
    """Raise BenchError if an instrument is another than the bench file pins, naming every one."""
    others = [
        f"{name}: {text}"
        for name, entry in bench.instruments.items()
        if name in identities and (text := mismatch(entry.serial, identities[name], model_of(entry)))
    ]
    if others:
        raise BenchError(
            f"bench '{bench.name}' has other instruments than its file says: {'; '.join(others)}; nothing was changed. "
            "If it was exchanged on purpose, change 'serial' in the file"
        )
