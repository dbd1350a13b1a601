from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from labctl.core.bias import Geometry, Kind
from labctl.core.errors import BenchError
from sim_backend.cells import FabricatedDefect, fabricate
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

EXAMPLES = Path(__file__).parents[3] / "examples" / "dies"
FILE: dict[str, Any] = {
    "name": "small",
    "geometry": {"kernels": 2, "n_rows": 3, "n_cols": 4},
    "junction": {"diameter": "80 nm"},
}


def read(**changes: Any) -> DieDescription:
    return DieDescription.model_validate({**FILE, **changes}, context={"file": True})


def big(**simulation: Any) -> DieDescription:
    return read(geometry={"n_rows": 100, "n_cols": 90}, simulation=simulation)


@pytest.mark.parametrize("name", ["passive-15x15", "ideal-15x15"])
def test_examples_are_dies(name: str) -> None:
    text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    description = DieDescription.model_validate(yaml.safe_load(text), context={"file": True})
    assert description.name == name
    assert description.shape == Geometry(2, 15, 15)
    for kernel in (0, 1):
        assert 1 / description.nominal.g_p(kernel) == pytest.approx(2387, abs=1)
        assert description.nominal.tmr(kernel) == pytest.approx(1.2)


def test_the_passive_example_says_the_defaults() -> None:
    text = (EXAMPLES / "passive-15x15.yaml").read_text(encoding="utf-8")
    description = DieDescription.model_validate(yaml.safe_load(text), context={"file": True})
    bare = description.model_copy(update={"simulation": read().simulation})
    assert description.simulation.model_dump() == bare.simulation.model_dump()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"junction": {"diameter": 80}}, "no unit"),
        ({"junction": {"diameter": "-80 nm"}}, "greater than or equal to 0.000000001"),
        ({"junction": {"diameter": "80 mV"}}, "not a unit of m"),
        ({"junction": {"diameter": "80 nm", "tmr": "-1 %"}}, "greater than or equal to 0"),
        ({"junction": {"kernel_diameters": ["80 nm"]}}, "1 kernel_diameters for 2"),
        ({"junction": {"diameter": "80 nm", "kernel_diameters": ["80 nm", "60 nm"]}}, "found both 'diameter'"),
        ({"junction": {"ra": "8 ohm um^2"}}, "the key 'diameter' is missing"),
        (
            {"junction": {"kernel_diameters": ["80 nm", "0 nm"]}},
            "greater than or equal to 0.000000001",
        ),
        ({"geometry": {"n_rows": 3}}, "n_cols"),
        ({"geometry": {"n_rows": 0, "n_cols": 4}}, "greater than or equal to 1"),
        ({"geometry": {"n_rows": 4097, "n_cols": 4}}, "less than or equal to 4096"),
        ({"geometry": {"kernels": 5, "n_rows": 1000, "n_cols": 2001}}, "10,005,000 cells; expected at most 10,000,000"),
        ({"junction": {"diameter": "80 mm"}}, "less than or equal to 0.0001"),
        ({"junction": {"diameter": "80 nm", "tmr": "20000 %"}}, "less than or equal to 100"),
        ({"simulation": {"spread": {"ra": "101 %"}}}, "less than or equal to 1"),
        ({"simulation": {"switching": {"v_c0_p": "500 V"}}}, "less than or equal to 50"),
        ({"polarity": 0}, "polarity"),
        ({"simulation": {"wires": {}}}, "Extra inputs"),
        ({"simulation": {"lines": {"r_row": "-1 ohm"}}}, "greater than or equal to 0"),
        ({"simulation": {"defects": {"short": "120 %"}}}, "less than or equal to 1"),
        ({"simulation": {"defects": {"short": "60 %", "open": "60 %"}}}, "more than every cell"),
        ({"simulation": {"defects": {"r_short_min": "1 kohm"}}}, "above r_short_max"),
        ({"simulation": {"ideal": True, "noise": {}}}, "expected no noise"),
    ],
)
def test_mistakes_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(**changes)


def test_a_1t1r_file_is_read_and_not_simulated() -> None:
    chip = read(geometry={"kind": "1T1R", "kernels": 2, "n_rows": 3, "n_cols": 4})
    assert chip.shape.kind is Kind.ONE_T_ONE_R
    with pytest.raises(BenchError, match="this simulated die is passive"):
        SimDie(chip, seed=1, name="x")


def test_every_default_of_the_physics_is_labelled() -> None:
    definitions = DieDescription.model_json_schema()["$defs"]
    parts = (
        "Spread",
        "Switching",
        "Lines",
        "Noise",
        "Converter",
        "Breakdown",
        "Defects",
        "Timing",
        "Thermal",
        "BackHopping",
    )
    for part in parts:
        for field in definitions[part]["properties"].values():
            assert "Project default, not a published value" in str(field), (part, field)


def test_kernels_may_differ_in_size() -> None:
    description = read(junction={"kernel_diameters": ["55 nm", "100 nm"]})
    made = [fabricate(description, 1, "x", k) for k in (0, 1)]
    ratio = np.median(made[1].g_p) / np.median(made[0].g_p)
    assert ratio == pytest.approx((100 / 55) ** 2, rel=0.05)
    nominal = description.nominal
    assert description.diameters.tolist() == [55e-9, 100e-9]
    for kernel, cells in enumerate(made):
        assert np.median(cells.g_p) == pytest.approx(nominal.g_p(kernel), rel=0.1)
        assert np.median(cells.g_p / (1 + cells.tmr0)) == pytest.approx(nominal.g_ap(kernel), rel=0.1)


def test_the_transistor_in_series_counts_in_every_kernel() -> None:
    geometry = {"kind": "1T1R", "kernels": 2, "n_rows": 3, "n_cols": 4}
    die = read(geometry=geometry, junction={"kernel_diameters": ["60 nm", "100 nm"], "ra": "8 ohm um^2"})
    series = 1 / (1.75e-3 * (3.3 - 0.8 - 0.6))  # the gate fully open, the source at the sense reference
    for kernel, diameter in enumerate((60e-9, 100e-9)):
        r_p = 8e-12 / (np.pi / 4 * diameter**2)
        assert 1 / die.nominal.g_p(kernel) == pytest.approx(r_p + series)
        assert die.nominal.tmr(kernel) == pytest.approx((2.2 * r_p + series) / (r_p + series) - 1)


def test_conductances_have_the_statistics_of_the_file() -> None:
    made = fabricate(big(), 5, "x", 0)
    logs = np.log(made.g_p)
    sigma = np.hypot(2 * 0.02, 0.03)
    assert logs.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * logs.size))
    assert logs.mean() == pytest.approx(np.log(read().nominal.g_p(0)), abs=5 * sigma / np.sqrt(logs.size))
    assert np.log(made.v_c0_p).std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * logs.size))
    assert made.state.mean() == pytest.approx(0.5, abs=2.5 / np.sqrt(logs.size))
    assert abs(np.corrcoef(logs, np.log(made.v_c0_p))[0, 1]) < 5 / np.sqrt(logs.size)


def test_both_critical_voltages_are_kept_apart() -> None:
    made = fabricate(big(switching={"v_c0_ap": "400 mV"}), 5, "x", 0)
    assert made.v_c0_ap / made.v_c0_p == pytest.approx(np.full(9000, 0.8))


def test_defects_come_in_the_fractions_of_the_file() -> None:
    given = {"short": "3 %", "open": "2 %", "stuck_p": "4 %", "stuck_ap": "5 %", "low_tmr": "6 %"}
    made = fabricate(big(defects=given), 5, "x", 0)
    codes = (
        FabricatedDefect.SHORT,
        FabricatedDefect.OPEN,
        FabricatedDefect.STUCK_P,
        FabricatedDefect.STUCK_AP,
        FabricatedDefect.LOW_TMR,
    )
    for code, percent in zip(codes, (3, 2, 4, 5, 6), strict=True):
        share = percent / 100
        assert (made.defect == code).mean() == pytest.approx(share, abs=5 * np.sqrt(share / 9000))
    assert made.state[made.defect == FabricatedDefect.STUCK_P].all()
    assert not made.state[made.defect == FabricatedDefect.STUCK_AP].any()
    assert made.tmr0[made.defect == FabricatedDefect.LOW_TMR] == pytest.approx(0.36)
    shorts = 1 / made.g_short
    assert (shorts.min() >= 30, shorts.max() <= 300) == (True, True)
    assert np.median(shorts) == pytest.approx(np.sqrt(30 * 300), rel=0.06)


def test_an_ideal_die_has_nominal_cells() -> None:
    ideal = big(ideal=True)
    made = fabricate(ideal, 5, "x", 0)
    assert (made.g_p == ideal.nominal.g_p(0)).all()
    assert not made.state.any()
    assert not made.defect.any()
    assert (ideal.simulation.effective.lines.r_row, ideal.simulation.effective.lines.r_sense) == (0.0, 0.0)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("delta", [40.0, 60.0])
def test_critical_voltages_that_are_left_out_keep_the_median_at_a_millisecond(exponent: float, delta: float) -> None:
    switching = read(simulation={"switching": {"exponent": exponent, "delta": delta}}).simulation.switching
    closed = 0.5 * (1 - np.log(1e-3 / (1e-9 * np.log(2))) / delta)
    assert switching.v_c0_p * switching.law.median(1e-3, delta) == pytest.approx(closed, rel=1e-9)
    assert switching.v_c0_p == switching.v_c0_ap
    # a record holds the numbers, and means the same
    again = type(switching).model_validate(switching.model_dump())
    assert again.model_dump() == switching.model_dump()
    given = read(simulation={"switching": {"exponent": exponent, "v_c0_p": "600 mV"}}).simulation.switching
    assert given.v_c0_p == 0.6
    assert given.v_c0_ap == read(simulation={"switching": {"exponent": exponent}}).simulation.switching.v_c0_ap


def test_the_exponent_two_has_a_higher_critical_voltage() -> None:
    assert read(simulation={"switching": {"exponent": 2}}).simulation.switching.v_c0_p == pytest.approx(
        0.7345, abs=1e-4
    )
    plain = read().simulation.switching
    assert (plain.exponent, plain.v_c0_p, plain.v_c0_ap, plain.reduced_field) == (1.0, 0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("simulation", "says"),
    [
        ({"switching": {"exponent": 0.5}}, "greater than or equal to 1"),
        ({"switching": {"exponent": 3}}, "less than or equal to 2"),
        ({"switching": {"h_off": "-300 mT"}}, "not below h_k 0.3 T; expected a field in which both states are stable"),
        ({"switching": {"field": 0.1}}, "no unit; expected a quantity such as 20 mT"),
        ({"switching": {"exponent": 2, "delta": 12}}, "delta 12 switch in 0.001 s without a voltage; expected v_c0_ap"),
        ({"thermal": {"r_th": "-1 K/uW"}}, "greater than or equal to 0"),
        ({"thermal": {"r_th": "1 K"}}, "'K' is not a unit of K/W"),
        ({"thermal": {"t_star": "290 K"}}, "greater than 300"),
        ({"ideal": True, "thermal": {"r_th": "1 K/uW"}}, "expected no thermal"),
    ],
)
def test_mistakes_of_switching_and_heat_are_refused(simulation: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(simulation=simulation)


def test_fields_and_heat_have_units() -> None:
    simulation = read(
        simulation={"switching": {"h_k": "250 mT", "h_off": "-5 mT"}, "thermal": {"r_th": "0.4 K/uW", "t_star": "1 kK"}}
    ).simulation
    assert (simulation.switching.h_k, simulation.switching.h_off) == (0.25, -0.005)
    assert (simulation.thermal.r_th, simulation.thermal.t_star) == (0.4e6, 1000.0)


def test_critical_voltages_vary_together_as_much_as_the_file_says() -> None:
    plain = fabricate(big(), 5, "x", 0)
    for together in (0.6, 0.0, -0.5):
        made = fabricate(big(spread={"v_c0_correlation": together}), 5, "x", 0)
        logs = np.log([made.v_c0_p, made.v_c0_ap])
        assert np.corrcoef(logs)[0, 1] == pytest.approx(together, abs=5 / np.sqrt(9000))
        assert logs.std(axis=1) == pytest.approx([0.05, 0.05], rel=5 / np.sqrt(2 * 9000))
        # those towards P, and all else, stay as they were
        assert (made.v_c0_p == plain.v_c0_p).all()
        assert (made.delta == plain.delta).all()
    assert (plain.v_c0_ap == plain.v_c0_p).all()


def test_parameters_vary_together_as_much_as_the_file_says() -> None:
    """Measured in 9000 cells, directly and through what the diameter does to G_P; all else stays as it was."""
    wanted = {("ra", "tmr"): -0.6, ("delta", "v_c0"): 0.5, ("diameter", "delta"): 0.4}
    pairs = [{"of": list(pair), "value": value} for pair, value in wanted.items()]
    for together in (1.0, 0.7):
        spread = {"tmr": "4 %", "v_c0_correlation": together}
        plain = fabricate(big(spread=spread), 5, "x", 0)
        made = fabricate(big(spread={**spread, "correlations": pairs}), 5, "x", 0)
        # G_P = pi D^2 / (4 RA), both drawn as before
        assert (made.g_p == plain.g_p).all()
        assert (made.v_c0_p == plain.v_c0_p).all()
        assert (made.v_c0_ap == plain.v_c0_ap).all()
        logs = np.log([made.g_p, made.tmr0, made.v_c0_p, made.v_c0_ap, made.delta])
        share = np.array([0.04, 0.03]) / 0.05  # of 2 ln D and of -ln RA in ln G_P
        measured = np.corrcoef(logs)
        for i, j, expected in (
            (0, 1, 0.6 * share[1]),
            (0, 4, 0.4 * share[0]),
            (2, 4, 0.5),
            (3, 4, 0.5),
            (2, 3, together),
            (1, 4, 0.0),
            (0, 2, 0.0),
        ):
            assert measured[i, j] == pytest.approx(expected, abs=5 / np.sqrt(9000)), (i, j)
        assert logs.std(axis=1)[1:] == pytest.approx([0.04, 0.05, 0.05, 0.05], rel=5 / np.sqrt(2 * 9000))


@pytest.mark.parametrize(
    ("spread", "says"),
    [
        ({"correlations": [{"of": ["delta", "delta"], "value": 0.1}]}, "of delta with itself"),
        (
            {"correlations": [{"of": ["ra", "tmr"], "value": 0.1}, {"of": ["tmr", "ra"], "value": 0.2}]},
            "the correlation of ra and tmr is there twice",
        ),
        ({"correlations": [{"of": ["ra", "lead"], "value": 0.1}]}, "'diameter', 'ra', 'tmr', 'v_c0' or 'delta'"),
        ({"correlations": [{"of": ["ra", "tmr"], "value": 1.1}]}, "less than or equal to 1"),
        # both critical voltages cannot follow Delta and oppose each other
        (
            {"v_c0_correlation": -1, "correlations": [{"of": ["v_c0", "delta"], "value": 0.5}]},
            "no delta has all of these correlations",
        ),
        (
            {
                "correlations": [
                    {"of": ["ra", "tmr"], "value": 0.9},
                    {"of": ["tmr", "delta"], "value": 0.9},
                    {"of": ["ra", "delta"], "value": -0.9},
                ]
            },
            "no delta has all of these correlations",
        ),
    ],
)
def test_correlations_that_cannot_be_are_refused(spread: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(simulation={"spread": spread})


def test_an_absolute_spread_of_the_diameter_weighs_more_in_small_cells() -> None:
    for nm, relative in ((55, 0.0), (55, 0.02), (100, 0.02)):
        file = read(
            geometry={"n_rows": 100, "n_cols": 90},
            junction={"diameter": f"{nm} nm"},
            simulation={"spread": {"diameter": relative, "diameter_absolute": "1.5 nm", "ra": 0}},
        )
        logs = np.log(fabricate(file, 5, "x", 0).g_p)
        assert logs.std() == pytest.approx(2 * np.hypot(relative, 1.5 / nm), rel=5 / np.sqrt(2 * 9000))


@pytest.mark.parametrize(
    ("scaling", "expected"), [("none", [60, 60, 60]), ("macrospin", [15, 60, 93.75]), ("nucleation", [48, 60, 60])]
)
def test_thermal_stability_goes_with_the_size_of_each_cell(scaling: str, expected: list[float]) -> None:
    switching = {"scaling": scaling, "nucleation_diameter": "50 nm"}
    for nm, delta in zip((40, 80, 100), expected, strict=True):
        file = read(
            geometry={"n_rows": 100, "n_cols": 90},
            junction={"diameter": f"{nm} nm"},
            simulation={"spread": {"ra": 0, "delta": 0}, "switching": switching},
        )
        made = fabricate(file, 5, "x", 0)
        assert np.median(made.delta) == pytest.approx(delta, rel=0.005)
        if scaling == "macrospin":  # as the area, which is as the conductance
            assert made.delta / made.g_p == pytest.approx(np.full(9000, made.delta[0] / made.g_p[0]))
        assert float(file.simulation.nominal_switching(file.diameters)[2][0]) == pytest.approx(delta)
        assert float(np.median(made.v_c0_p)) == pytest.approx(0.5, rel=0.01)  # V_c0 = J_c0 RA


def test_a_warm_die_has_less_of_tmr_critical_voltage_and_thermal_stability() -> None:
    cold, warm = (fabricate(big(thermal=thermal), 5, "x", 0) for thermal in ({}, {"temperature": "400 K"}))
    barrier = ((1 - (400 / 1120) ** 1.5) / (1 - (300 / 1120) ** 1.5)) ** 2
    assert warm.v_c0_p / cold.v_c0_p == pytest.approx(np.full(9000, barrier))
    assert warm.v_c0_ap / cold.v_c0_ap == pytest.approx(np.full(9000, barrier))
    assert warm.delta / cold.delta == pytest.approx(np.full(9000, barrier * 300 / 400))
    assert warm.tmr0 / cold.tmr0 == pytest.approx(np.full(9000, 900 / 1000))
    assert (warm.g_p == cold.g_p).all()


@pytest.mark.parametrize(
    ("simulation", "says"),
    [
        ({"spread": {"v_c0_correlation": 1.5}}, "less than or equal to 1"),
        ({"spread": {"diameter_absolute": "1.5 um"}}, "less than or equal to 0.0000001"),
        ({"switching": {"scaling": "area"}}, "'none', 'macrospin' or 'nucleation'"),
        ({"thermal": {"temperature": "1200 K"}}, "temperature 1200 K is not below t_star 1120 K"),
        ({"thermal": {"t_tmr": "250 K"}}, "greater than 300"),
    ],
)
def test_mistakes_of_spreads_and_temperature_are_refused(simulation: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(simulation=simulation)
