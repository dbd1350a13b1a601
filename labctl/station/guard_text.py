"""What the guard of a bench is called, and what it did, in operator words."""

from pathlib import Path

from labctl.core.events import GuardActed, GuardFate
from labctl.terminal.progress import duration


def title(folder: Path) -> str:
    """Return what the guard of a run is called, by which whoever is refused the bench knows it."""
    return f"the guard of {folder} makes the bench safe"


def met_text(event: GuardActed) -> str:
    """Return what the guard of a bench met on or closed.

    >>> met_text(GuardActed(what=GuardFate.SAFE, met={"smu1.smua": "on at 0.1 V", "matrix": "30 relays closed"}))
    'smu1.smua was on at 0.1 V; matrix: 30 relays closed'
    """
    parts = [f"{name} was {was}" if was.startswith("on ") else f"{name}: {was}" for name, was in event.met.items()]
    return "; ".join(parts) or "no output was seen on"


def guard_text(event: GuardActed) -> str:
    """Return what the guard of a bench did.

    >>> guard_text(GuardActed(what=GuardFate.SAFE, met={"smu1.smua": "on at 0.1 V"}, text="smu1: off", seconds=0.5))
    'every process of the run was gone; bench made safe by its guard 500 ms later: smu1.smua was on at 0.1 V; smu1: off'
    """
    gone, after = "every process of the run was gone", f"{duration(event.seconds)} later"
    match event.what:
        case GuardFate.SAFE:
            return f"{gone}; bench made safe by its guard {after}: {met_text(event)}; {event.text}"
        case GuardFate.UNSAFE:
            return f"{gone}; ITS GUARD COULD NOT VERIFY THE BENCH SAFE: go there: {event.text}"
        case GuardFate.LEFT:
            return f"{gone}; its guard left the bench alone: {event.text}"
