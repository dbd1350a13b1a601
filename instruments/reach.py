"""The channels that a visit to each kernel may use, and what they reach.

If the levels of all sources stand between two calls, a visit uses the channels of all of them. Otherwise it is one
script of one instrument, so it uses the channels of one: the one that the kernel is wired to, or the one of which most
channels reach the kernel's lines.
"""

from collections.abc import Collection, Sequence

import numpy as np

from instruments.assignment import OPEN, Reach
from instruments.connections import Connections
from labctl.core.errors import BenchError


def reach_of(
    pads: Sequence[str],
    shape: tuple[int, int],
    connections: Connections,
    owner: Sequence[int],
    usable: Collection[int],
    stands: bool,
) -> Reach:
    """Return the sources that `pads` can be connected to within one visit.

    Args:
        pads: of the lines, rows first, then columns, then gates.
        shape: number of rows and of columns.
        owner: instrument of each channel of the bench.
        usable: channels that may be used.
        stands: the levels of all sources stand between two calls.

    Raises:
        BenchError: the pads are wired to channels of several instruments, and levels do not stand.
    """
    sources = [connections.sources(pad) for pad in pads]
    wired = {connections.wired[pad]: pad for pad in pads if connections.wired.get(pad, OPEN) in usable}
    if stands:
        candidates = sorted(usable)
    else:
        homes: dict[int, str] = {}
        for channel, pad in wired.items():
            homes.setdefault(owner[channel], pad)
        if len(homes) > 1:
            one, other = list(homes.values())[:2]
            raise BenchError(
                f"{one} is wired to {connections.name(connections.wired[one])} and {other} to "
                f"{connections.name(connections.wired[other])}: what acts together has to be on one instrument, since "
                "levels cannot be held from one script to the next; wire both to one, or put relays between"
            )
        instruments = list(homes) or sorted({owner[channel] for channel in usable})

        def merit(instrument: int) -> tuple[int, int]:
            own = [channel for channel in usable if owner[channel] == instrument]
            return (
                sum(all(channel in reached for reached in sources) for channel in own),
                sum(any(channel in reached for reached in sources) for channel in own),
            )

        best = max(instruments, key=merit)
        candidates = sorted(channel for channel in usable if owner[channel] == best)
    channels = [channel for channel in candidates if any(channel in reached for reached in sources)]
    can = np.array([[s in reached for s in (*channels, connections.ground)] for reached in sources], np.bool_)
    places = {source: k for k, source in enumerate((*channels, connections.ground))}
    return Reach(
        tuple(pads),
        *shape,
        tuple(channels),
        can,
        np.array([places.get(connections.wired.get(pad, OPEN), OPEN) for pad in pads]),
    )
