"""A bench that is connected has every output off; one that has not is refused."""

from collections.abc import Mapping
from typing import Any

from labctl.core.errors import BenchError


def refuse_outputs_on(bench: str, energising: Mapping[str, Any]) -> None:
    """Refuse a bench on which an output is on; BenchError names every one and its level. Changes nothing.

    Args:
        bench: its name.
        energising: sources or boards, by name.
    """
    on = [
        f"{name}.{channel} is on at {state.forced}"
        for name, instrument in energising.items()
        for channel, state in instrument.state().items()
        if state.output
    ]
    if on:
        raise BenchError(
            f"bench '{bench}' is not at rest: {', '.join(on)}; nothing was changed. "
            "Make it safe with 'labctl off BENCH' first"
        )
