"""The picture of a wafer from the journal of a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from labctl.report import wafer_plot
from labctl.storage.run_log import read_state


def test_bins_and_figures_have_a_map_each(
    night: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = read_state(night("end"))
    panels = []
    real = wafer_plot.drawn

    def drawn(*asked):
        panels.extend(asked[0])
        return real(*asked)

    monkeypatch.setattr(wafer_plot, "drawn", drawn)
    figures = {die.name: die.last.figures for die in state.subjects if die.last}
    wafer_plot.draw(state, figures, tmp_path / "wafer.png")
    assert (tmp_path / "wafer.png").stat().st_size > 10_000
    assert panels[0].title == "bin"
    assert sum(int(name.rpartition(": ")[2]) for name, _, _ in panels[0].legend) == len(state.subjects)
    titles = [panel.title for panel in panels]
    assert "write fidelity, %" in titles
    texts = panels[titles.index("write fidelity, %")].texts
    assert [text != "–" for text in texts] == ["fidelity" in figures.get(die.name, {}) for die in state.subjects]
