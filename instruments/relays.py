"""All matrices of a bench as one set of relays: over all of them, relays open before others close."""

from collections.abc import Iterable, Mapping

from instruments.connections import Relay
from labctl.core.switch_matrix import Matrix, Permit


class Relays:
    """The matrices of a bench; there may be none.

    Args:
        matrices: by name.
        permit: called before any relay moves.
    """

    def __init__(self, matrices: Mapping[str, Matrix], permit: Permit) -> None:
        self.matrices = dict(matrices)
        for matrix in self.matrices.values():
            matrix.permit = permit

    def closed(self) -> frozenset[Relay]:
        """Return the relays that the instruments say are closed."""
        return frozenset((name, crosspoint) for name, m in self.matrices.items() for crosspoint in m.closed())

    def route(self, wanted: Iterable[Relay], present: frozenset[Relay] | None = None) -> None:
        """Make exactly `wanted` closed, read back; with several matrices all open theirs before one closes any.

        Args:
            present: relays that are closed now, as they were read back; None asks for them if they matter.
        """
        wanted = frozenset(wanted)
        if len(self.matrices) > 1 and wanted:
            present = self.closed() if present is None else present
            changing = {matrix for matrix, _ in present ^ wanted}
            if len(changing) > 1:
                for name in sorted({matrix for matrix, _ in present - wanted}):
                    self.matrices[name].route(_own(name, present & wanted))
        for name, matrix in self.matrices.items():
            matrix.route(_own(name, wanted))


def _own(matrix: str, relays: Iterable[Relay]) -> frozenset[str]:
    """Return the crosspoints of one matrix."""
    return frozenset(crosspoint for name, crosspoint in relays if name == matrix)
