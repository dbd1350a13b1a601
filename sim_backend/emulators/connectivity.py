"""Conductors joined by the closed relays, computed from the relays alone.

A bench has dozens of lines and only a handful of relays closed: nets without a closed relay are made once and kept, and
the nets of the last routes are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from labctl.core.bias import Geometry
from sim_backend.emulators.nets import Net, Nets

_KEPT = 512
"""Routes whose nets are kept: those of two arrays of 15 x 15 cells, each visited again and again in the same order."""


@dataclass
class _Node:
    """Permanent connections of one node."""

    channels: list[str] = field(default_factory=list)
    grounded: bool = False
    lines: dict[int, list[int]] = field(default_factory=dict)


class Joints:
    """The permanent connections of a bench; `nets` adds the closed relays.

    Args:
        channels: source -> its node.
        lines: line of the die (kernel, `row` or `col`, index) -> its node; those beyond `die` are left out.
        ground: nodes on the common LO.
        die: shape of the load under the needles, None if there is none.
        wires: pairs of nodes that are one conductor.
    """

    def __init__(
        self,
        channels: Mapping[str, str],
        lines: Mapping[tuple[int, str, int], str],
        ground: Iterable[str],
        die: Geometry | None,
        wires: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._nodes: dict[str, _Node] = {}
        self._conductor: dict[str, str] = {}
        for nodes in _joined(wires):
            self._conductor.update(dict.fromkeys(nodes, nodes[0]))
        for name, node in channels.items():
            self._at(node).channels.append(name)
        for node in ground:
            self._at(node).grounded = True
        for (kernel, axis, index), node in lines.items():
            if die is not None and kernel < die.kernels and index < (die.n_rows if axis == "row" else die.n_cols):
                line = index if axis == "row" else die.n_rows + index
                self._at(node).lines.setdefault(kernel, []).append(line)
        self._made: dict[frozenset[tuple[str, str]], Nets] = {}
        self._alone = {name: self._net([name]) for name in self._nodes}

    def _at(self, node: str) -> _Node:
        return self._nodes.setdefault(self.conductor(node), _Node())

    def conductor(self, node: str) -> str:
        """Return the node that stands for all that are wired to `node`."""
        return self._conductor.get(node, node)

    def _net(self, members: list[str]) -> Net:
        """Return the net of nodes that are joined."""
        channels: list[str] = []
        lines: dict[int, list[int]] = {}
        grounded = False
        for name in members:
            node = self._nodes.get(name)
            if node is not None:
                channels += node.channels
                grounded |= node.grounded
                for kernel, indices in node.lines.items():
                    lines.setdefault(kernel, []).extend(indices)
        return Net(frozenset(members), tuple(channels), grounded, {k: np.array(sorted(i)) for k, i in lines.items()})

    def nets(self, closed: Iterable[tuple[str, str]]) -> Nets:
        """Return the nets that the `closed` relays, (node, node) each, make, with nothing driven.

        A bench comes back to the same routes: nets are kept by the set of their closed relays, on which alone they
        depend, and those of one call are valid until the next.
        """
        relays = frozenset(closed)
        nets = self._made.get(relays)
        if nets is not None:
            nets.begin()
            return nets
        joined = _joined((self.conductor(one), self.conductor(other)) for one, other in sorted(relays))
        taken = {node for nodes in joined for node in nodes}
        nets = Nets(
            [self._net(nodes) for nodes in joined] + [net for node, net in self._alone.items() if node not in taken]
        )
        if len(self._made) >= _KEPT:
            del self._made[next(iter(self._made))]
        self._made[relays] = nets
        return nets


def _joined(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the sets of nodes that `pairs` join, each a list.

    >>> _joined([("a", "b"), ("c", "d"), ("b", "e")])
    [['a', 'b', 'e'], ['c', 'd']]
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in pairs:
        first, second = root(one), root(other)
        parent[second] = first
    members: dict[str, list[str]] = {}
    for node in parent:
        members.setdefault(root(node), []).append(node)
    return list(members.values())
