"""TSP-Link: instruments on one cable reach each other's commands as `node[N]`.

Dialect: Series 2600B reference manual, "TSP-Link system": each instrument keeps its node number; `tsplink.reset()`,
`tsplink.initialize()` in later firmware, numbers the nodes and returns how many there are; a message makes the node
that receives it master and every node that it reaches its subordinate, until one of the two aborts.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from sim_backend.emulators.tsp.vm import Lua, whole
from sim_backend.emulators.world import World

MOST_NODES = 64
"""Node numbers are 1 to 64."""
_CONFLICT = 1210, "TSP-Link initialization failed (node ID conflict)"
_TOO_FEW = 1205, "TSP-Link initialization failed (no remote nodes found)"


class Linked(Protocol):
    """What a cable needs of an instrument."""

    link: "LinkPort"

    def remote(self, lua: Lua) -> dict[str | int, Any]:
        """Return its objects for the interpreter of another node."""
        ...


class LinkPort:
    """The TSP-Link connectors of one instrument.

    Args:
        name: of the instrument.
        world: whose `cabled` instruments are on one cable.
        refuse: adds an entry to the instrument's error queue.
    """

    def __init__(self, name: str, world: World, refuse: Callable[[int, str], None]) -> None:
        self.name, self.node, self.group = name, 1, 0
        self._world, self._refuse = world, refuse
        self.number: int | None = None
        """Node number in force; None while the link is offline."""
        self.master: str | None = None
        """Instrument that this one is a subordinate of."""

    def cable(self, node: int, instrument: Linked) -> None:
        """Put the instrument on the cable with a node number, which is in force from the next reset of the link."""
        self.node = node
        self._world.cabled[self.name] = instrument

    def dissolve(self) -> None:
        """Release the subordinates, as an abort does."""
        for other in self._cabled().values():
            if other.link.master == self.name:
                other.link.master = None

    def objects(self, lua: Lua) -> dict[str, Any]:
        """Return the global tables `tsplink` and `node`."""
        proxies: dict[str, tuple[Any, Any]] = {}

        def at(key: Any) -> Any:
            if self.number is not None and key == self.number:
                return lua.globals
            for name, other in self._cabled().items():
                if name != self.name and self.number is not None and other.link.number == key:
                    other.link.master = self.name
                    if name not in proxies or proxies[name][0] is not other:
                        proxies[name] = other, lua.table(other.remote(lua))
                    return proxies[name][1]
            return None

        def set_node(value: Any) -> None:
            self.node = whole(value, MOST_NODES, 1)

        def set_group(value: Any) -> None:
            self.group = whole(value, MOST_NODES)

        def master() -> int | None:
            return self.number if self.number is None else self._number_of(self.master) or self.number

        return {
            "node": lua.node("node", index=at),
            "tsplink": lua.node(
                "tsplink",
                get={
                    "node": lambda: self.node,
                    "group": lambda: self.group,
                    "state": lambda: "offline" if self.number is None else "online",
                    "master": master,
                },
                set={"node": set_node, "group": set_group},
                objects={"reset": partial(self._reset), "initialize": partial(self._reset)},
            ),
        }

    def _reset(self, expected: Any = 0) -> int:
        """Number the nodes of the cable; return how many there are, and refuse if two have one number."""
        least, cabled = whole(expected, MOST_NODES), self._cabled()
        nodes = [other.link.node for other in cabled.values()]
        sound = self.name in cabled and len(set(nodes)) == len(nodes) > 1
        for other in cabled.values():
            other.link.number, other.link.master = (other.link.node if sound else None), None
        count = len(nodes) if sound else 1
        if not sound and len(set(nodes)) < len(nodes):
            self._refuse(*_CONFLICT)
        elif count < least:
            self._refuse(*_TOO_FEW)
        return count

    def _cabled(self) -> Mapping[str, Linked]:
        return self._world.cabled

    def _number_of(self, name: str | None) -> int | None:
        return None if name is None or name not in self._cabled() else self._cabled()[name].link.number
