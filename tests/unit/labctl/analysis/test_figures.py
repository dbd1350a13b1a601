"""Figures of a die from its tables: by kernel size, with tables that are missing, and formulas that fail."""

import math

import numpy as np
import pytest

from labctl.analysis import figures
from labctl.core.cell_state import CellState, cell_states
from labctl.core.figure import Figure, Figures
from protocols.by_hand import MapCells
from protocols.network import Network
from protocols.survey import Survey

SIZES = {"description": {"junction": {"kernel_diameters": [60e-9, 100e-9, 60e-9]}}}
ONE_SIZE = {"description": {"junction": {"kernel_diameters": []}}}


def survey():
    """Three kernels of 2 x 4 cells, of which kernel 1 conducts three times as much; one cell is a short."""
    kernel = np.array([0, 1, 2])
    g_p = np.array([1e-4, 3e-4, 1e-4])[:, None, None] * np.ones((3, 2, 4))
    defect = np.zeros((3, 2, 4), np.uint8)
    defect[0, 1, 3] = 1
    g_p[0, 1, 3] = 1e-2
    return {"kernel": kernel, "g_p": g_p, "g_ap": g_p / 2, "tmr": np.ones((3, 2, 4)), "defect": defect}


def attempt():
    verified = np.array([True, True, False, True])
    voltage = np.array([0.4, 0.5, 0.6, 0.45])
    return {
        "kernel": np.array([0, 1, 1, 2]), "target": np.array([True, False, True, False]), "verified": verified,
        "voltage": voltage, "round": np.zeros(4, np.int64),
    }  # fmt: skip


def test_where_kernels_differ_in_size_resistances_are_of_each_size_and_never_pooled() -> None:
    tables = {"survey": survey(), "attempt": attempt()}
    values = figures.compute(figures.declared([Survey]), tables, {}, SIZES)
    assert math.isclose(values["r_p[60 nm]"], 1e4)
    assert math.isclose(values["r_p[100 nm]"], 1e4 / 3)
    assert (values["tmr[60 nm]"], values["v_switch[100 nm]"]) == (1.0, 0.5)
    assert math.isclose(values["v_switch[60 nm]"], 0.425)
    assert not {"r_p", "r_ap", "tmr", "v_switch"} & set(values)
    assert (values["defects"], values["short"], values["good"]) == (1, 1, 23 / 24)
    pooled = figures.compute(figures.declared([Survey]), tables, {}, ONE_SIZE)
    assert "r_p" in pooled
    assert not any("[" in name for name in pooled)


def test_what_was_not_measured_is_absent_and_the_approach_gives_its_own() -> None:
    approach = {"contact_resistance": {"1-2": 4.0, "3-4": 8.0, "5-6": 5.0}, "touches": 3}
    values = figures.compute(figures.declared([Survey, Network]), {}, approach, {})
    # of a plain dictionary a missing table is a failure, of a die's tables it is not
    assert {"contact": 5.0, "touches": 3.0}.items() <= values.items()

    class Source:
        tables = ("survey",)

        def table(self, name):
            return survey()

    tables = figures.DieTables(Source())
    failures: list[str] = []
    values = figures.compute(figures.declared([Survey, Network]), tables, {}, {}, failures.append)
    assert failures == []
    assert {"r_p", "good"} <= set(values)
    assert not {"fidelity", "v_switch", "contact"} & set(values)


def test_cells_that_were_read_give_the_resistances_of_both_states() -> None:
    g = np.array([[[500e-6, 250e-6, 5e-3], [500e-6, 200e-6, 225e-6]]])
    flag = np.array([[[0, 0, 1], [0, 0, 0]]])
    read = {
        "kernel": np.array([0]), "conductance": g, "flag": flag, "state": cell_states(g, flag, 350e-6, 200e-6),
    }  # fmt: skip
    values = figures.compute(figures.declared([MapCells]), {"kernel_map": read}, {}, {})
    assert math.isclose(values["r_p"], 2000.0)
    assert math.isclose(values["r_ap"], 1 / 225e-6)
    assert math.isclose(values["tmr"], 500 / 225 - 1)
    more = {name: np.concatenate([v, v[..., :1]], axis=-1) if v.ndim > 1 else v for name, v in read.items()}
    more["conductance"][..., 3], more["state"][..., 3] = 1e-9, CellState.OPEN
    values = figures.compute(figures.declared([MapCells]), {"kernel_map": more}, {}, {})
    assert math.isclose(values["r_ap"], 1 / 225e-6)
    only_p = {**read, "state": np.full_like(g, CellState.P)}
    assert set(figures.compute(figures.declared([MapCells]), {"kernel_map": only_p}, {}, {})) == {"r_p"}


def test_the_newest_survey_of_a_kernel_counts() -> None:
    first, second = survey(), survey()
    both = {name: np.concatenate([first[name], second[name] * 2 if name == "g_p" else second[name]]) for name in first}
    values = figures.compute(figures.declared([Survey]), {"survey": both, "attempt": attempt()}, {}, SIZES)
    assert math.isclose(values["r_p[60 nm]"], 5e3)
    assert values["good"] == 23 / 24


def test_the_worst_network_is_named_where_there_are_several() -> None:
    write = {"solution": np.array([7, 8, 9]), "fidelity": np.array([1.0, 0.5, 0.75])}
    write["fidelity_blind"] = np.full(3, np.nan)  # not written in open loop
    names = Figures([f for f in Network.figures if f.key.startswith("fidelity")])
    assert figures.compute(names, {"write": write}, {}, {}) == {"fidelity": 0.75, "fidelity_worst": 0.5}
    one = {name: column[:1] for name, column in write.items()}
    assert figures.compute(names, {"write": one}, {}, {}) == {"fidelity": 1.0}
    blind = {**write, "fidelity_blind": np.array([0.9, 0.8, np.nan])}
    assert figures.compute(names, {"write": blind}, {}, {})["fidelity_blind"] == pytest.approx(0.85)


def test_write_error_rates_are_those_of_first_pulses_and_of_the_newest_stage() -> None:
    wer = {
        "kernel": np.array([0, 0, 1, 0, 0]),
        "target": np.array([True, True, True, False, True]),
        "first": np.array([True, False, True, True, True]),
        "voltage": np.array([0.42, 0.42, 0.42, 0.42, 0.42]),
        "pulses": np.array([900, 10, 60, 50, 40]),
        "failures": np.array([900, 9, 4, 5, 6]),
    }
    names = Figures([f for f in Network.figures if f.key.startswith("wer")])
    assert figures.compute(names, {"wer": wer}, {}, {}) == pytest.approx({"wer_p": 10 / 100, "wer_ap": 5 / 50})
    meta = {"description": {"junction": {"kernel_diameters": [60e-9, 100e-9]}}}
    by_size = figures.compute(names, {"wer": wer}, {}, meta)
    assert by_size == pytest.approx({"wer_p[60 nm]": 6 / 40, "wer_p[100 nm]": 4 / 60, "wer_ap[60 nm]": 5 / 50})
    to_ap = {name: column[3:4] for name, column in wer.items()}
    assert figures.compute(names, {"wer": to_ap}, {}, {}) == pytest.approx({"wer_ap": 0.1})


def test_whatever_a_formula_raises_or_returns_costs_its_own_figure_only() -> None:
    declared = Figures([
        Figure("text", "text", "", lambda tables: "seven"),  # type: ignore[arg-type, return-value]
        Figure("broken", "broken", "", lambda tables: tables["own"]["no such column"].mean()),
        Figure("endless", "endless", "", lambda tables: math.inf),
        Figure("none", "none", "", lambda tables: None),
        Figure("sound", "sound", "", lambda tables: np.float32(2)),
    ])  # fmt: skip
    failures: list[str] = []
    values = figures.compute(declared, {"own": {}}, {}, {}, failures.append)
    assert list(values) == ["text", "broken", "endless", "sound"]
    assert values["sound"] == 2.0
    assert all(math.isnan(values[name]) for name in ("text", "broken", "endless"))
    assert [text.partition(" cannot")[0] for text in failures] == ["the figure 'text'", "the figure 'broken'"]
    assert "KeyError: 'no such column'" in failures[1]
