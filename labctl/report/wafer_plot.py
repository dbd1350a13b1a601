"""The picture of a wafer as a file: the map of bins, and one of every figure that tables of dies show."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from labctl.core.die_state import FINAL
from labctl.core.figure import Figures, Shown
from labctl.report.run_folder import left_out
from labctl.storage.identity import Identity
from labctl.storage.run_log import DieState, RunState
from labctl.wafer_maps import palette
from labctl.wafer_maps.picture import Layout, Panel, drawn, figure_panel, orientation


def draw(state: RunState, figures: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the maps of a run that has a wafer, or several dies, into a PNG file.

    Args:
        figures: of every die that has any, by name and SI unit; those of its newest try.

    Raises:
        OSError: the file cannot be written.
    """
    wafer, dies = Identity.of(state), state.subjects
    layout = Layout([die.at for die in dies], wafer.places, wafer.notch)
    declared, panels = Figures.of_run(state.meta), [_bins(state, dies, layout)]
    known = [name for die in dies for name, value in figures.get(die.name, {}).items() if math.isfinite(value)]
    for figure in declared.chosen(known, Shown.HEADLINE, Shown.TABLE):
        if not figure.on_map:
            continue
        values = [figures.get(die.name, {}).get(figure.key, math.nan) for die in dies]
        title = f"{figure.title}, {figure.shown_unit}" if figure.shown_unit else figure.title
        colours = palette.scale(figure.better)
        panels.append(figure_panel(title, layout, values, figure.text_number, colours, figure.shown_unit))
    lot = f", lot {wafer.lot}" if wafer.lot else ""
    name = f"wafer {wafer.wafer}{lot}" if wafer.places else str(state.meta.get("name", ""))
    drawn(panels, f"{name}: {state.meta.get('title') or state.meta.get('name', '')}", _words(state, wafer)).savefig(
        path, dpi=110
    )


def _words(state: RunState, wafer: Identity) -> str:
    dies = len({die.at for die in state.subjects})
    parts = [f"{dies} of the {len(wafer.places)} dies of the wafer" if wafer.places else f"{dies} dies"]
    parts += [str(state.meta.get("body", ""))] if state.meta.get("body") else []
    text = f"{', '.join(parts)}; {orientation(wafer.notch)}"
    return f"{text[:1].upper()}{text[1:]}."


def _bins(state: RunState, dies: Sequence[DieState], layout: Layout) -> Panel:
    """Return the map of bins; dies without one have the colour of their state."""
    excluded = left_out(state)
    kinds = ["left out" if die.name in excluded else die.bin or die.state.value for die in dies]
    counts = Counter(kinds)
    good = next((die.bin for die in dies if die.bin and die.last and die.last.hard == 1), "")
    order = sorted(counts, key=lambda kind: (kind != good, -counts[kind], kind))
    busy = [die.state.value for die in dies if not die.bin and die.state not in FINAL]
    look = palette.of_bins(order, good, busy)
    legend = [(f"{kind}: {counts[kind]}", look[kind][0] if kind != "pending" else "", look[kind][1]) for kind in order]
    fills = [look[kind][0] if kind != "pending" else "" for kind in kinds]
    return Panel("bin", layout, fills, [look[kind][1] for kind in kinds], legend=legend)
