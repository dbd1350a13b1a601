"""Run write-verify and inference on magnetic tunnel junction dies, real or simulated."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labctl.storage.results import open_run as open_run

__all__ = ["open_run"]


def __getattr__(name: str) -> Any:
    """Import what the package exports when it is asked for, so that ``import labctl`` stays light."""
    if name == "open_run":
        from labctl.storage.results import open_run

        return open_run
    raise AttributeError(f"module 'labctl' has no attribute '{name}'")
