"""Run write-verify and inference on magnetic tunnel junction dies, real or simulated."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labctl.cli.python_run import run
    from labctl.core.bias import Bias
    from labctl.core.die import Die
    from labctl.core.limits import Limits
    from labctl.core.operations import Pulse, Reading, Sense, WritePlan
    from labctl.core.procedure import Procedure
    from labctl.core.record import Record
    from labctl.station.notebook import open_bench, simulated_die
    from labctl.storage.results import open_run

__all__ = [
    "Bias",
    "Die",
    "Limits",
    "Procedure",
    "Pulse",
    "Reading",
    "Record",
    "Sense",
    "WritePlan",
    "open_bench",
    "open_run",
    "run",
    "simulated_die",
]

_HOMES = {
    "Bias": "labctl.core.bias",
    "Die": "labctl.core.die",
    "Limits": "labctl.core.limits",
    "Procedure": "labctl.core.procedure",
    "Pulse": "labctl.core.operations",
    "Reading": "labctl.core.operations",
    "Record": "labctl.core.record",
    "Sense": "labctl.core.operations",
    "WritePlan": "labctl.core.operations",
    "open_bench": "labctl.station.notebook",
    "open_run": "labctl.storage.results",
    "run": "labctl.cli.python_run",
    "simulated_die": "labctl.station.notebook",
}
"""The module that defines each name."""


def __getattr__(name: str) -> Any:
    """Import a name of the package at its first use (PEP 562), so that ``import labctl`` stays light.

    Raises:
        ImportError: a package that the name needs is not ours; the message says what is in its place and what to do.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'labctl' has no attribute '{name}'")
    from labctl.core.own_names import foreign_names

    if foreign := foreign_names():
        raise ImportError("; ".join(map(str, foreign)))
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
