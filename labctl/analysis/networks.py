"""The networks of a run on test samples: each over its dies, and which of them are the best and the worst."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.core.units import Ratio


@dataclass(frozen=True)
class NetworkOverDies:
    """One solution on the dies on which it was inferred; means over these dies, of test samples.

    Args:
        solution: its number in its file.
        fidelity: of writing, over the dies of which it is known; None if it is of none.
        accuracy: on hardware, network scale tuned; `software` that of the same network in software.
        worst: the die on which it is worst, and its accuracy there; `best` the other end.
    """

    solution: int
    dies: int
    fidelity: Ratio | None
    accuracy: Ratio
    software: Ratio
    worst: tuple[str, Ratio]
    best: tuple[str, Ratio]

    @property
    def drop(self) -> Ratio:
        """Software less hardware."""
        return self.software - self.accuracy


def over_dies(dies: Iterable[tuple[str, Iterable[Mapping[str, Any]]]]) -> list[NetworkOverDies]:
    """Return the networks of some dies by number; those that were written and not inferred are left out.

    Args:
        dies: name of each die, and its networks as `labctl.analysis.measurements.Measured` has them.
    """
    by_solution: dict[int, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, networks in dies:
        newest = {int(one["solution"]): one for one in networks}
        for solution, one in newest.items():
            if one["accuracy_test"] is not None and one["software_test"] is not None:
                by_solution.setdefault(solution, []).append((name, one))
    return [_of(solution, rows) for solution, rows in sorted(by_solution.items())]


def _of(solution: int, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> NetworkOverDies:
    accuracies = [(name, float(one["accuracy_test"])) for name, one in rows]
    written = [float(one["fidelity"]) for _, one in rows if one["fidelity"] is not None]
    return NetworkOverDies(
        solution,
        len(rows),
        sum(written) / len(written) if written else None,
        sum(accuracy for _, accuracy in accuracies) / len(rows),
        sum(float(one["software_test"]) for _, one in rows) / len(rows),
        min(accuracies, key=lambda one: one[1]),
        max(accuracies, key=lambda one: one[1]),
    )


def in_words(networks: Sequence[NetworkOverDies]) -> str:
    """Return which network is the best and which the worst, and on which dies; "" of none.

    >>> a = NetworkOverDies(3, 2, 1.0, 0.95, 0.97, ("D2", 0.94), ("D1", 0.96))
    >>> b = NetworkOverDies(8, 2, 1.0, 0.75, 0.96, ("D1", 0.70), ("D2", 0.80))
    >>> print(in_words([a, b]))
    Best network: 3, 95.0 % (mean of 2 dies), in software 97.0 %, drop 2.0 points; worst: 8, 75.0 %, in software \
96.0 %, drop 21.0 points. Best on one die: network 3 on D1, 96.0 %; worst: network 8 on D1, 70.0 %
    >>> in_words([a])
    'Best on one die: network 3 on D1, 96.0 %; worst: network 3 on D2, 94.0 %'
    """
    if not networks:
        return ""
    best, worst = max(networks, key=lambda n: n.accuracy), min(networks, key=lambda n: n.accuracy)
    texts = []
    if len(networks) > 1:
        mean = f" (mean of {best.dies} dies)" if best.dies > 1 else ""
        texts.append(
            f"Best network: {best.solution}, {_percent(best.accuracy)}{mean}, {_beside(best)}; "
            f"worst: {worst.solution}, {_percent(worst.accuracy)}, {_beside(worst)}"
        )
    if best.dies > 1 or worst.dies > 1:
        high, low = max(networks, key=lambda n: n.best[1]), min(networks, key=lambda n: n.worst[1])
        texts.append(
            f"Best on one die: network {high.solution} on {high.best[0]}, {_percent(high.best[1])}; "
            f"worst: network {low.solution} on {low.worst[0]}, {_percent(low.worst[1])}"
        )
    return ". ".join(texts)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"


def _beside(one: NetworkOverDies) -> str:
    return f"in software {_percent(one.software)}, drop {100 * one.drop:.1f} points"
