"""Formulas of the figures of dies that have not ended, by the protocols that are installed here."""

from collections.abc import Iterator, Mapping
from typing import Any

from labctl.analysis import figures
from labctl.core.errors import BenchError
from labctl.core.figure import Figure, Figures
from labctl.core.plugins import PROTOCOLS, registered
from labctl.core.procedure import Procedure
from labctl.station.plugins import usable
from protocols.by_hand import MapCells


def formulas_of(meta: Mapping[str, Any]) -> Figures:
    """Return the figures that a run declares, with their formulas where a protocol of this installation has them.

    A protocol that cannot be loaded here, or declares a figure differently now, gives no formula: figures of dies that
    ended are stored, and only those of a die that has not are absent then.
    """
    declared = Figures.of_run(meta)
    kinds: list[type[Procedure]] = [MapCells, *_installed()]
    formulas: dict[str, Figure] = {figure.key: figure for figure in (figures.CONTACT, figures.TOUCHES)}
    for figure in (figure for kind in kinds for figure in kind.figures):
        if figure.key in declared and declared[figure.key] == figure:
            formulas.setdefault(figure.key, figure)
    return Figures(formulas[key] for key in declared if key in formulas)


def _installed() -> Iterator[type[Procedure]]:
    """Yield the protocols that can be loaded here."""
    for plugin in registered(PROTOCOLS):
        try:
            yield usable(plugin)
        except BenchError:
            continue
