"""Serial numbers of instruments: read from an identity in many forms, compared in one.

An address tells where an instrument is, not which one it is. A bench file may pin each by its serial number, so that
another box at the same address, of another history and another calibration, is refused before it is used.
"""

import re
from collections.abc import Mapping

from instruments.board_bench import AnyBench
from labctl.core.errors import BenchError

_LABEL = re.compile(r"(?:s\s*/?\s*n|ser(?:ial)?\.?(?:\s*(?:no|number|#))?|no)[\s.:#=]+", re.IGNORECASE)


def serial_of(identity: str) -> str | None:
    """Return the serial number in an identity, None if it has none: the third of four fields, without a label.

    >>> serial_of("Keithley Instruments Inc., Model 2602B, 04000001, 3.2.2")
    '04000001'
    >>> serial_of("ACME;SMU-7;S/N: A12-7;1.0"), serial_of("ACME,SMU,0,1.0"), serial_of("SENTIO 25.1")
    ('A12-7', None, None)
    """
    for separator in (",", ";"):
        fields = [field.strip().strip('"') for field in identity.strip().split(separator)]
        if len(fields) >= 3:
            label = _LABEL.match(fields[2])
            serial = fields[2][label.end() :] if label and label.end() < len(fields[2]) else fields[2]
            return serial if serial and serial.strip("0") else None
    return None


def mismatch(pinned: str | None, identity: str) -> str:
    """Return how an identity differs from the serial number that is pinned, in operator words; "" if it does not."""
    if pinned is None:
        return ""
    serial = serial_of(identity)
    if serial is None:
        return f"the bench file pins serial number {pinned}, and '{identity}' has none"
    return "" if serial == pinned else f"the bench file pins serial number {pinned}, and {serial} answers"


def require_serials(bench: AnyBench, identities: Mapping[str, str]) -> None:
    """Raise BenchError if an instrument is another than the bench file pins, naming every one."""
    others = [
        f"{name}: {text}"
        for name, entry in bench.instruments.items()
        if name in identities and (text := mismatch(entry.serial, identities[name]))
    ]
    if others:
        raise BenchError(
            f"bench '{bench.name}' has other instruments than its file says: {'; '.join(others)}; nothing was changed. "
            "If it was exchanged on purpose, change 'serial' in the file"
        )
