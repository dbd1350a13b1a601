"""Each rule warns of what a colleague would laugh at, with the line of the file, and of nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from instruments.visa import misspelt_resource
from labctl.execution.plan import DiePlan, StagePlan
from labctl.station import plan_warnings, read_warnings
from labctl.station.composition import read
from labctl.station.plan_warnings import RULES, PlanWarning, Rule, warnings_of
from labctl.station.run_spec import RunSpec
from protocols.settings import WriteSettings
from sim_backend.description import DieDescription

EXAMPLES = Path(__file__).parents[4] / "examples"
DIE = "name: two\ngeometry: {kernels: 2, n_rows: 15, n_cols: 15}\njunction:\n  DIAMETERS\n  ra: 8 ohm um^2\n"
CHIP = """name: chip
geometry: {kind: 1T1R, kernels: 2, n_rows: 3, n_cols: 4}
junction: {diameter: 60 nm, ra: 8 ohm um^2}
"""
WAFER = "name: W02\nmap:\n  - ROW\n  - .XX.\n"
CAMPAIGN = """name: few
wafer: {file: wafer.yaml, die: die.yaml}
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 20 mA, v_count: 350 mV,
         pulses_per_cell: 1000}
stages:
  - survey: {}
bins: [{bin: defective, hard: 4, when: good < 90 %}]
"""


def prepared(
    folder: Path,
    *,
    die: str = DIE.replace("DIAMETERS", "diameter: 80 nm"),
    row: str = ".XX.",
    changes: Mapping[str, str] | None = None,
    bench: Path | None = None,
) -> RunSpec:
    (folder / "die.yaml").write_text(die)
    (folder / "wafer.yaml").write_text(WAFER.replace("ROW", row))
    (folder / "few.yaml").write_text(CAMPAIGN)
    return read(folder / "few.yaml", changes, bench=bench)


def warned(rule: Rule, campaign: RunSpec, times: tuple[float, ...] = ()) -> list[PlanWarning]:
    """Return the warnings of one rule, which has to be among those that are printed."""
    plans = [DiePlan(f"D{k}", [StagePlan("survey", time=time)]) for k, time in enumerate(times)]
    warnings = list(rule(campaign, plans))
    assert rule in RULES
    assert set(warnings) <= set(warnings_of(campaign, plans))
    return warnings


def test_a_sound_campaign_is_warned_of_nothing(tmp_path: Path) -> None:
    assert warnings_of(prepared(tmp_path), [DiePlan("D0", [StagePlan("survey", time=9e9)])]) == []


@pytest.mark.parametrize(
    ("name", "bench"),
    [
        ("wine-passive.yaml", None),
        ("overnight-bench.yaml", None),
        ("overnight-bench.yaml", "bench-two-arrays.yaml"),
        ("overnight-36-dies.yaml", None),
    ],
)
def test_the_examples_are_warned_of_nothing(name: str, bench: str | None) -> None:
    assert warnings_of(read(EXAMPLES / name, bench=bench and EXAMPLES / bench), []) == []  # type: ignore[arg-type]


def test_nobody_said_what_good_is(tmp_path: Path) -> None:
    (warning,) = warned(plan_warnings.no_limits, prepared(tmp_path, changes={"bins": "[]"}))
    assert warning.text.startswith("no acceptance limits were set")
    assert (warning.key, "low_yield" in warning.text) == ("accept", False)
    watched = {"bins": "[]", "batch.stop.low_yield": "{below: 50 %, after: 6}"}
    (warning,) = warned(plan_warnings.no_limits, prepared(tmp_path, changes=watched))
    assert "low_yield counts the dies that cannot be measured" in warning.text


@pytest.mark.parametrize(
    ("diameters", "key", "line", "words"),
    [
        (
            "kernel_diameters: [60 um, 100 nm]",
            "junction.kernel_diameters.0",
            4,
            "die W02-x1y0, with R_P 2.829",
        ),
        ("kernel_diameters: [60 nm, 9 nm]", "junction.kernel_diameters.1", 4, "9 nm"),
        ("diameter: 1.1 um", "junction.diameter", 4, "expected 10 nm to 1 um"),
    ],
)
def test_a_junction_of_a_size_that_nobody_builds(
    tmp_path: Path, diameters: str, key: str, line: int, words: str
) -> None:
    die = DIE.replace("DIAMETERS", diameters)
    (warning,) = warned(plan_warnings.diameters, prepared(tmp_path, die=die))
    assert (warning.key, warning.where) == (key, f"{tmp_path / 'die.yaml'}:{line}")
    assert words in warning.text


@pytest.mark.parametrize("diameters", ["diameter: 10 nm", "diameter: 1 um", "kernel_diameters: [20 nm, 900 nm]"])
def test_what_is_built_is_not_warned_of(tmp_path: Path, diameters: str) -> None:
    assert warned(plan_warnings.diameters, prepared(tmp_path, die=DIE.replace("DIAMETERS", diameters))) == []


@pytest.mark.parametrize(
    ("v_read", "words"), [("190 mV", ""), ("191 mV", "is more than 50% of 380.3 mV"), ("400 mV", "writes the cells")]
)
def test_a_read_near_the_median_switching_voltage(tmp_path: Path, v_read: str, words: str) -> None:
    """0.5 V (1 - ln(1.2 ms / (1 ns ln 2)) / 60) is 380.3 mV: 1 ms of aperture and 0.2 ms to settle."""
    campaign = prepared(tmp_path, changes={"stages.0.survey.v_read": v_read})
    warnings = warned(plan_warnings.reads_that_write, campaign)
    assert len(warnings) == bool(words)
    for warning in warnings:
        assert (warning.key, warning.where) == ("stages.0.survey.v_read", "--set")
        assert f"a read at {v_read} for 1.2 ms {words}" in warning.text


def test_a_read_of_a_chip_counts_by_what_is_left_for_the_junction(tmp_path: Path) -> None:
    """60 nm at 8 ohm um^2 and 120 % is 6.22 kohm in AP, behind 300 ohm: 95.4 % of the voltage."""
    campaign = prepared(tmp_path, die=CHIP, changes={"stages.0.survey.v_read": "250 mV"})
    (warning,) = warned(plan_warnings.reads_that_write, campaign)
    assert "a read at 250 mV, 238.5 mV across the junction, for 1.002 ms is more than 50% of" in warning.text


@pytest.mark.parametrize(("v_gate", "warns"), [("0.8 V", True), ("1.4 V", True), ("1.41 V", False), ("3.3 V", False)])
def test_a_gate_that_opens_no_transistor(tmp_path: Path, v_gate: str, warns: bool) -> None:
    changes = {"limits.v_gate": "3.3 V", "stages.0.survey.v_gate": v_gate}
    spec = prepared(tmp_path, die=CHIP, changes=changes)
    warnings = warned(plan_warnings.gates_that_do_not_open, spec)
    assert len(warnings) == warns
    for warning in warnings:
        assert warning.key == "stages.0.survey.v_gate"
        assert (
            "opens no transistor of die W02-x1y0: its columns are at 800 mV and its threshold is 600 mV above"
            in str(warning)
        )


def test_a_second_gate_that_opens_no_transistor(tmp_path: Path) -> None:
    second = "{v_gate: 1.3 V, share: 10 %}"
    changes = {"limits.v_gate": "3.3 V", "stages.0.survey.inference": f"{{v_gate: 1.2 V, second_gate: {second}}}"}
    *_, warning = warnings = warned(plan_warnings.gates_that_do_not_open, prepared(tmp_path, die=CHIP, changes=changes))
    assert [w.key for w in warnings] == [f"stages.0.survey.inference{at}.v_gate" for at in ("", ".second_gate")]
    assert warned(plan_warnings.gates_of_no_transistor, prepared(tmp_path, changes=changes))[-1].key == warning.key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"stages.1.chip_inference.readout.v_gate": "1.7 V"}, "with gates at 1.7 V, and the survey at "),
        ({"stages.1.chip_inference.readout.v_gate": "3.29 V"}, None),  # as the survey's own reads
        (  # what was surveyed is not used
            {
                "stages.1.chip_inference.readout.v_gate": "1.7 V",
                "stages.1.chip_inference.readout.normalisation": "nominal",
            },
            None,
        ),
        (
            {"stages.1.chip_inference.readout.second_gate": "{share: 8 %}"},
            "with gates at 1.6 V less 0.08 of it at 3.29 V, and the survey at 100.1 mV with gates at 3.29 V and at "
            "100.1 mV with gates at 1.6 V",
        ),
    ],
)
def test_an_inference_that_no_survey_mapped_cells_for(changes: dict[str, str], words: str | None) -> None:
    spec = read(EXAMPLES / "overnight-36-dies.yaml", changes)
    warnings = warned(plan_warnings.maps_of_another_reading, spec)
    assert len(warnings) == (words is not None)
    for warning in warnings:
        assert words is not None
        assert words in warning.text
        assert warning.key == "stages.1.chip_inference.readout"


def test_the_example_of_chips_asks_for_what_its_board_can_make() -> None:
    spec = read(EXAMPLES / "overnight-36-dies.yaml")
    die = spec.subjects[0].description
    assert isinstance(die, DieDescription)
    assert die.simulation.board is not None
    board, written = die.simulation.board, 0
    for _, settings in read_warnings.reads(spec):
        assert board.reference < settings.v_gate <= board.supply
        if isinstance(settings, WriteSettings):
            written += 1
            assert board.width(settings.width) == pytest.approx(settings.width, rel=1e-9)
    assert written == 2
    assert board.width(1e-3) != pytest.approx(1e-3, rel=1e-9), "every width would do"


def test_a_longer_read_is_nearer_to_a_write(tmp_path: Path) -> None:
    changes = {"stages.0.survey.v_read": "170 mV", "stages.0.survey.aperture": "1 s"}
    (warning,) = warned(plan_warnings.reads_that_write, prepared(tmp_path, changes=changes))
    assert "is more than 50% of 324.3 mV" in warning.text
    changes = {"stages.0.survey.v_read": "170 mV"}
    assert warned(plan_warnings.reads_that_write, prepared(tmp_path, changes=changes)) == []


def test_a_read_that_the_campaign_itself_counts_as_a_pulse(tmp_path: Path) -> None:
    for v_read, number in (("351 mV", 1), ("350 mV", 0)):
        campaign = prepared(tmp_path, changes={"stages.0.survey.inference": f"{{v_read: {v_read}}}"})
        warnings = warned(plan_warnings.reads_that_count, campaign)
        assert [w.key for w in warnings] == ["stages.0.survey.inference.v_read"] * number
        assert all("limits.v_count, 350 mV" in w.text for w in warnings)


def test_letters_in_a_map_that_are_no_marks_of_a_die(tmp_path: Path) -> None:
    (warning,) = warned(plan_warnings.letters_in_a_map, prepared(tmp_path, row=".x?X"))
    assert warning == PlanWarning(
        "'?' and 'x' in '.x?X' are taken for a die; expected X for a die and a dot for none",
        "map.0",
        f"{tmp_path / 'wafer.yaml'}:3",
    )
    assert str(warning).startswith(f"{tmp_path / 'wafer.yaml'}:3: map.0: '?' and 'x'")
    assert warned(plan_warnings.letters_in_a_map, prepared(tmp_path, row=". XX")) == []


def test_reads_that_a_board_applies_in_another_size(tmp_path: Path) -> None:
    example, bench = EXAMPLES / "digits-one-chip.yaml", EXAMPLES / "bench-daffodil.yaml"
    assert warned(plan_warnings.steps_of_a_board, read(example, bench=bench)) == []
    changes = {"stages.0.survey.v_read": "100 mV"}
    (warning,) = warned(plan_warnings.steps_of_a_board, read(example, changes, bench=bench))
    assert warning.key == "stages.0.survey.v_read"
    assert "read at 98.88 mV, which the converters of the board make of 100 mV" in warning.text
    assert warned(plan_warnings.steps_of_a_board, read(example, changes)) == []


def test_a_budget_that_ends_before_the_plan(tmp_path: Path) -> None:
    campaign = prepared(tmp_path, changes={"batch.budgets.time": "25 s"})
    (warning,) = warned(plan_warnings.budget, campaign, (9.0, 9.0, 9.0, 9.0))
    assert "takes 36.0 s of bench time and the budget is 25.0 s: time for about 2 of 4 dies" in warning.text
    assert warning.key == "batch.budgets.time"
    assert warned(plan_warnings.budget, campaign, (9.0, 9.0)) == []
    assert warned(plan_warnings.budget, prepared(tmp_path), (9e9,)) == []


def test_an_address_that_is_no_visa_name(tmp_path: Path) -> None:
    text = (EXAMPLES / "bench-two-arrays.yaml").read_text()
    address = "TCPIP::192.0.2.11::5025::SOCKET"
    (tmp_path / "bench.yaml").write_text(text.replace(address, "192.0.2.11"))
    (warning,) = warned(plan_warnings.addresses, prepared(tmp_path, bench=tmp_path / "bench.yaml"))
    line = 1 + text[: text.index(address)].count("\n")
    assert (warning.key, warning.where) == ("instruments.smu1.resource", f"{tmp_path / 'bench.yaml'}:{line}")
    assert warning.text.startswith("'192.0.2.11' is no VISA address (unknown interface type)")


@pytest.mark.parametrize(
    ("resource", "sound"),
    [
        ("TCPIP::192.0.2.11::5025::SOCKET", True),
        ("TCPIP0::192.0.2.11::hislip0::INSTR", True),
        ("GPIB0::26::INSTR", True),
        ("USB0::0x05E6::0x2602::4012345::INSTR", True),
        ("TCPIP::smu-1.lab.example::inst0::INSTR", True),
        ("TCPIP::192,0,2,11::5025::SOCKET", False),
        ("192.0.2.11", False),
        ("COM3", False),
    ],
)
def test_what_visa_takes_for_a_name(resource: str, sound: bool) -> None:
    assert (misspelt_resource(resource) == "") is sound


@pytest.mark.parametrize(
    ("model", "serial", "warns"),
    [("707B", "", True), ("708B", "", False), ("707B", 'serial: "12"', False), ("707B", "unpinned: true", False)],
)
def test_two_equal_matrices_that_nothing_tells_apart(tmp_path: Path, model: str, serial: str, warns: bool) -> None:
    text = (EXAMPLES / "bench-two-arrays.yaml").read_text("utf-8")
    second = f"  right:\n    driver: keithley707b\n    model: {model}\n    resource: TCPIP::192.0.2.21::5025::SOCKET\n"
    second += f"    {serial}\n" if serial else ""
    text = re.sub(r"(?<=: )([1-5]-\d\d|[A-DH]$|H(?= ))", r"matrix.\1", text, flags=re.M)
    bench = tmp_path / "bench.yaml"
    bench.write_text(text.replace("instruments:\n", f"instruments:\n{second}", 1))
    warnings = warned(plan_warnings.equal_instruments, prepared(tmp_path, bench=bench))
    assert bool(warnings) is warns
    assert all("on the real bench that is refused" in one.text for one in warnings)
    assert all("--pin" in one.text and "bench.yaml:" in one.where for one in warnings)


@pytest.mark.parametrize(("v_count", "warns"), [("700 mV", True), ("690 mV", False)])
def test_pulses_that_never_count(tmp_path: Path, v_count: str, warns: bool) -> None:
    campaign = prepared(tmp_path, changes={"limits.v_count": v_count})
    warnings = warned(plan_warnings.pulses_that_never_count, campaign)
    assert bool(warnings) is warns
    assert all(one.where == "--set" and "limits.pulses_per_cell limits nothing" in one.text for one in warnings)


@pytest.mark.parametrize(("at", "warns"), [("[1, 0]", True), ("[2, 0]", False)])
def test_two_dies_at_one_place(tmp_path: Path, at: str, warns: bool) -> None:
    (tmp_path / "die.yaml").write_text(DIE.replace("DIAMETERS", "diameter: 80 nm"))
    dies = f"dies: [{{name: A, file: die.yaml, at: {at}}}, {{name: B, file: die.yaml}}]"
    text = CAMPAIGN.replace("wafer: {file: wafer.yaml, die: die.yaml}", dies)
    (tmp_path / "few.yaml").write_text(text)
    warnings = warned(plan_warnings.one_place, read(tmp_path / "few.yaml"))
    assert [one.where for one in warnings] == [f"{tmp_path / 'few.yaml'}:2"] * warns
    assert all("A and B are both at x1y0" in one.text for one in warnings)


def test_a_warning_says_where_if_it_is_in_a_file() -> None:
    plain: Any = PlanWarning("too much", "a.b", "").plain()
    assert (str(PlanWarning("too much", "a.b", "")), plain["where"]) == ("a.b: too much", "")
