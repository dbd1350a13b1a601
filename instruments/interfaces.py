"""The methods that a driver of each kind has, and whether a driver has them."""

from typing import Any

from labctl.core.driver import DriverKind

INTERFACE = {
    DriverKind.SOURCE: ("capabilities", "connect", "state", "prepare", "output", "run", "off", "verify_off", "close"),
    DriverKind.MATRIX: ("connect", "closed", "route", "close"),
    DriverKind.PULSES: ("capabilities", "connect", "state", "prepare", "fire", "off", "verify_off", "close"),
    DriverKind.BOARD: (
        "connect",
        "turn_to",
        "geometry",
        "check",
        "perform",
        "idle",
        "state",
        "off",
        "verify_off",
        "close",
    ),
    DriverKind.PROBER: ("connect", "step", "contact", "separate", "in_contact", "separated", "close"),
}
"""Methods that a driver of each kind needs for operation; making it safe needs fewer."""


def lacking(driver: Any, kind: DriverKind) -> list[str]:
    """Return the methods of the interface of its kind that a driver lacks.

    >>> lacking(object(), DriverKind.MATRIX)
    ['connect', 'closed', 'route', 'close']
    """
    return [name for name in INTERFACE[kind] if not _has(driver, name)]


def has_method(driver: Any, method: str) -> bool:
    """Return whether a driver has a method; True if a property of that name raises another error."""
    declared = _on_class(driver, method)
    if declared is not None:
        return callable(declared)
    try:
        return callable(getattr(driver, method, None))
    except Exception:
        return True


def _has(driver: Any, name: str) -> bool:
    """Return whether a driver has an attribute; True if reading it raises another error."""
    if _on_class(driver, name) is not None:
        return True
    try:
        return hasattr(driver, name)
    except Exception:
        return True


def _on_class(driver: Any, name: str) -> Any:
    return getattr(type(getattr(driver, "_driver", driver)), name, None)
