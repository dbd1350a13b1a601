"""The maker's public scripts for its Series 2600, unmodified, on the emulated 2602B: they run, and read the device.

Their folder is in KEITHLEY_SCRIPTS: a clone of https://github.com/tektronix/keithley. Nothing of it is part of this
project. A script is sent as a host sends it, line by line between `loadandrunscript` and `endscript`; many of them only
define functions, so those of the sweeps are called.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.world import Cables, World

FOLDER = os.environ.get("KEITHLEY_SCRIPTS", "")
pytestmark = [
    pytest.mark.judge,
    pytest.mark.skipif(not FOLDER, reason="needs KEITHLEY_SCRIPTS, a clone of the maker's scripts"),
]
SERIES = Path(FOLDER) / "Instrument_Examples" / "Series_2600"
R = {"smua": 10e3, "smub": 4e3}
"""Resistor at each channel, ohm."""

ENDS = {
    "2601B_PULSE/BasicDiodeTest/BasicDiodeTest.tsp": "`pulser'",
    "2601B_PULSE/CurrentPulseSweep/CurrentPulseSweep.tsp": "`pulser'",
    "2601B_PULSE/DigitizeCompletePulse/DigitizeCompletePulse.tsp": "`pulser'",
    "265xA/2651A_IdVgSweep_ParallelDrainSMUs.tsp": "`Status'",
    "Tutorials/functions.tsp": "`bigNumber'",
    "Tutorials/if_Then_Branching.tsp": "Parameter too big",
}
"""Scripts that end in an error, and what it names. A 2601B-PULSE has a pulser, a 2602B does not; three 2651As on
TSP-Link are more than one 2602B; one tutorial prints a name that it never sets, and one asks twice for its last value,
of which ENTER at both leaves 10 V for a sweep in A."""
SWEEPS, PULSES = "Sweeps/KE26XXB_DC_Sweeps.tsp", "Pulsed_Sweep/KE26XXB_Pulsed_Sweep"
DIODE = "../../Drivers/SMU_General/SmuPy_Driver/DiodeTestFunctions_12Jun2019.tsp"
GENERATOR = "../../Application_Specific/Ford EMC-CS-2009.1 specification/AWGforEMC.tsp"


def make() -> K2600:
    """Return a 2602B with a resistor at each channel."""
    cables = Cables(
        {"smu.smua": "a", "smu.smub": "b"},
        {(0, "row", 0): "a", (0, "row", 1): "b", (0, "col", 0): "gnd"},
        ("gnd",),
    )
    return K2600("smu", "2602B", World(cables, ResistorBox(1 / np.array([[[ohm] for ohm in R.values()]]))))


def load(path: Path) -> tuple[K2600, str]:
    """Return an instrument that has run a script, and what it sent."""
    smu = make()
    lines = path.read_bytes().decode("latin-1").splitlines()
    return smu, "".join(smu.execute(line) for line in ("loadandrunscript", *lines, "endscript"))


def scripts() -> list[str]:
    """Return the names of all scripts."""
    return sorted(path.relative_to(SERIES).as_posix() for path in SERIES.rglob("*.tsp")) if FOLDER else []


def test_every_script_runs_to_its_end_or_ends_by_what_is_its_own(
    record_property: Callable[[str, object], None],
) -> None:
    names = scripts()
    assert len(names) >= 89
    record_property("tried", len(names))
    record_property("accepted", len(names) - len(ENDS))
    for name in names:
        smu, _ = load(SERIES / name)
        errors = [text for _, text, _ in smu.errors]
        assert bool(errors) == (name in ENDS), (name, errors)
        assert not errors or ENDS[name] in errors[0], (name, errors)


@pytest.mark.parametrize(
    ("script", "call", "levels"),
    [
        (SWEEPS, "DCSweepVLinear(0, 1, 3, 1e-3, 0.1)", [0, 0.5, 1]),
        (SWEEPS, "DCSweepVLog(0.01, 1, 3, 1e-3, 0.1)", [0.01, 0.1, 1]),
        (SWEEPS, "DCSweepVList({0.1, 0.3, 0.2}, 3, 1e-3, 0.1)", [0.1, 0.3, 0.2]),
        (SWEEPS, "DCSweepILinear(0, 1e-5, 3, 1, 0.1)", [0, 0.05, 0.1]),
        (SWEEPS, "DCSweepILog(1e-6, 1e-4, 3, 1, 0.1)", [0.01, 0.1, 1]),
        (SWEEPS, "DCSweepIList({1e-6, 3e-6, 2e-6}, 3, 1, 0.1)", [0.01, 0.03, 0.02]),
        (f"{PULSES}_Single.tsp", "PulsedSweepVSingle(0.1, 0.3, 3, 1e-3, 20e-3, 1e-3, 0.001, false)", [0.1, 0.2, 0.3]),
        (f"{PULSES}_Single.tsp", "PulsedSweepISingle(1e-6, 3e-6, 3, 1e-3, 20e-3, 1, 0.001, false)", [0.01, 0.02, 0.03]),
        (f"{PULSES}_Dual.tsp", "PulsedSweepVDual(0.1, 0.3, 3, 1e-3, 20e-3, 1e-3, 0.001, false)", [0.1, 0.2, 0.3]),
        (f"{PULSES}_Dual.tsp", "PulsedSweepIDual(1e-6, 3e-6, 3, 1e-3, 20e-3, 1, 0.001, false)", [0.01, 0.02, 0.03]),
    ],
)
def test_a_sweep_prints_time_and_the_volts_and_amps_of_the_device(script: str, call: str, levels: list[float]) -> None:
    smu, _ = load(SERIES / script)
    smu.world._load.held.clear()
    head, *rows = smu.execute(call).splitlines()
    assert not smu.errors
    table = np.array([[float(field) for field in row.split("\t")] for row in rows])
    assert head.startswith("Time\t")
    assert table.shape == (len(levels), 1 + 2 * head.count("Voltage"))
    volts, amps = table[:, 1], table[:, 2]
    np.testing.assert_allclose(volts, levels, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(amps, volts / R["smua"], rtol=1e-5, atol=1e-12)
    if "Dual" in call:
        np.testing.assert_allclose(table[:, 4], table[:, 3] / R["smub"], rtol=1e-5, atol=1e-12)
    assert (np.diff(table[:, 0]) > 0).all()
    assert not smu.outputs()
    if "Pulse" in call:
        np.testing.assert_allclose(np.diff(table[:, 0]), 20e-3, rtol=1e-5)
        up = sum(time for _, rows, time in smu.world._load.held if abs(rows[0] - levels[1]) < 1e-6)
        assert up == pytest.approx(1e-3, rel=0.06), "the pulse, and a channel that begins a step later"


def test_a_wave_of_7200_points_a_second_keeps_its_period() -> None:
    smu, _ = load(SERIES / "Sweeps/KE26XXB_AC_Waveform_Sweep.tsp")
    _, *rows = smu.execute("AC_Waveform_Sweep(0.1, 2, 600, 1e-3)").splitlines()
    table = np.array([[float(field) for field in row.split("\t")] for row in rows])
    wave = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * np.arange(1, 25) / 12)
    np.testing.assert_allclose(table[:, 1], wave, atol=1e-6)
    np.testing.assert_allclose(table[:, 2], wave / R["smua"], atol=1e-10)
    np.testing.assert_allclose(np.diff(table[:, 0]), 1 / 7200, rtol=1e-3)
    assert not smu.errors


def test_the_check_for_overruns_tells_them() -> None:
    smu, _ = load(SERIES / "26xxA_Check_for_Overrun.tsp")
    assert smu.execute("print(CheckForOverRun(localnode))") == "false\tno overrun detected\n"
    smu.execute("digio.trigger[3].mode = digio.TRIG_FALLING digio.trigger[3].assert() digio.trigger[3].assert()")
    smu.execute("delay(1) digio.trigger[3].assert()")
    assert smu.execute("print(CheckForOverRun(localnode))").startswith("true\tdigio trigger is overrun")
    smu.execute("digio.trigger[3].clear() smua.trigger.source.set() smua.trigger.source.set()")
    assert smu.execute("print(CheckForOverRun(localnode))") == "true\tsmua source trigger is overrun\n"
    assert not smu.errors


def test_a_port_that_is_partly_protected_ends_as_the_tutorial_says() -> None:
    smu, _ = load(SERIES / "Tutorials/DigitalIO/writeprotect.tsp")
    assert float(smu.execute("print(digio.readport())")) == 16383 - 130


@pytest.mark.parametrize("script", ["Fast", "Slow"])
def test_a_resistor_is_read(script: str) -> None:
    _, printed = load(SERIES / f"2602/Resisitor_{script}/Resistor{script}.tsp")
    assert float(printed.split()[-1]) == pytest.approx(R["smua"])


def test_a_waveform_waits_for_its_digital_line_and_keeps_its_time() -> None:
    smu, _ = load(SERIES / GENERATOR)
    assert smu.execute("print(SetupSineFunction(50, 0.8, 0.1, 1e-3, false, 3))") == "false\tNo error.\n"
    assert smu.execute("print(RunAWG(1))") == "false\tNo error.\n"
    held = smu.world._load.held
    assert not any(abs(rows[0]) > 0.1 + 1e-9 for _, rows, _ in held), "nothing before the edge"
    held.clear()
    assert smu.port is not None
    smu.port.pull(3, low=True)
    smu.execute("waitcomplete()")
    smu.world.advance(0.0)
    smu.world.settle()
    levels = np.array([rows[0] for _, rows, _ in held])
    assert [levels.max(), levels.min()] == pytest.approx([0.5, -0.3], abs=1e-3)
    timing = smu.world.timing
    assert sum(time for _, _, time in held) == pytest.approx(159 / 8000 + timing.swept_source + timing.message)
    smu.execute("StopAWG()")
    assert not smu.outputs()
    assert not smu.errors


def test_the_sweep_of_a_diode_reads_the_device() -> None:
    smu, _ = load(SERIES / DIODE)
    smu.execute("initialize_smu(smua) sweepv_measiv(smua, 0, 0.5, 0.1, 1, 1e-3, 1e-3, 0.01, 1e-3)")
    printed = smu.execute("printbuffer(1, smua.nvbuffer1.n, smua.nvbuffer1, smua.nvbuffer2)")
    table = np.array([float(v) for v in printed.split(",")]).reshape(-1, 2)
    np.testing.assert_allclose(table[:, 1], np.arange(6) / 10, atol=1e-9)
    np.testing.assert_allclose(table[:, 0], table[:, 1] / R["smua"], rtol=1e-5, atol=1e-12)
    assert not smu.errors
