"""Networks solved by ngspice, as an independent judge: its nodal Newton iteration and its own transistor models."""

import os
import subprocess
from pathlib import Path

import numpy as np

from labctl.core.bias import Bias
from labctl.core.operations import Sense
from sim_backend.cells import FabricatedDefect
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription

PATIENCE = 120.0
"""s that a netlist of some hundred nodes may take."""
WIRES = {"r_row": 2.0, "r_col": 2.0, "r_source": 5.0, "r_sense": 5.0}
LONG = 1e4
"""s; an aperture in which noise averages out."""


def operating_point(folder: Path, lines: list[str]) -> dict[str, float]:
    """Return voltages and currents of a netlist, its title first, by ngspice's names."""
    (folder / "case.cir").write_text("\n".join([*lines, ".op", ".end", ""]))
    done = subprocess.run(
        ["ngspice", "-b", "-r", "case.raw", "case.cir"],
        cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return read_raw(folder / "case.raw")


def read_raw(path: Path) -> dict[str, float]:
    """Return the one point of a binary raw file."""
    head, _, body = path.read_bytes().partition(b"Binary:\n")
    fields = head.decode("ascii").split("Variables:\n")
    count = int(fields[0].split("No. Variables:")[1].split()[0])
    names = [line.split("\t")[2].lower() for line in fields[1].splitlines()[:count]]
    return dict(zip(names, np.frombuffer(body, dtype="<f8", count=count).tolist(), strict=True))


def column_currents(folder: Path, die: ChipDie, row, col, gate):
    """Return the (n_cols,) A out of the columns of one pattern, NaN being a floating line."""
    truth = {name: value[0] for name, value in die.truth().items()}
    sim = die.description.simulation
    lines, transistor, v_half = sim.lines, sim.transistor, sim.switching.v_half
    reference = sim.board.reference
    m, n = truth["g_p"].shape
    text = ["chip", ".options reltol=1e-9 abstol=1e-16 vntol=1e-12 gmin=1e-15 itl1=500 noacct"]

    def wire(name, a, b, ohm):
        text.append(f"R{name} {a} {b} {ohm:.17g}" if ohm > 0 else f"Vz{name} {a} {b} 0")

    for i in range(m):
        wire(f"s{i}", f"s{i}", f"w{i}_0", lines.r_source + lines.r_row)
        text.append(f"Vg{i} g{i} 0 {gate[i]:.17g}")
        if not np.isnan(row[i]):
            text.append(f"Vs{i} s{i} 0 {row[i] + reference:.17g}")
        for j in range(n):
            if j:
                wire(f"w{i}_{j}", f"w{i}_{j - 1}", f"w{i}_{j}", lines.r_row)
            if i:
                wire(f"b{i}_{j}", f"b{i - 1}_{j}", f"b{i}_{j}", lines.r_col)
            defect, name = truth["defect"][i, j], f"{i}_{j}"
            short = defect == FabricatedDefect.SHORT
            g, tmr = (truth["g_short"][i, j], 0.0) if short else (truth["g_p"][i, j], truth["tmr0"][i, j])
            if truth["state"][i, j] or short:
                tmr = 0.0
            ends = (f"w{name}", f"x{name}", f"x{name}", f"b{name}")
            if transistor.junction == "column":
                ends = (f"x{name}", f"b{name}", f"w{name}", f"x{name}")
            v = f"V({ends[0]},{ends[1]})"
            if defect != FabricatedDefect.OPEN:
                w = f"(1+({v}/{v_half:.17g})^2)"
                text.append(f"BJ{name} {ends[0]} {ends[1]} I={g:.17g}*{w}/({w}+{tmr:.17g})*{v}")
            text.append(f"M{name} {ends[2]} g{i} {ends[3]} 0 m{name} W=100u L=100u")
            text.append(
                f".model m{name} nmos level=1 vto={truth['v_threshold'][i, j]:.17g} kp={truth['gain'][i, j]:.17g} "
                f"gamma={transistor.body_effect:.17g} phi={transistor.surface_potential:.17g} lambda=0 is=1e-30"
            )
    for j in range(n):
        wire(f"t{j}", f"b{m - 1}_{j}", f"t{j}", lines.r_sense + lines.r_col)
        if not np.isnan(col[j]):
            text.append(f"Vt{j} t{j} 0 {col[j] + reference:.17g}")
    value = operating_point(folder, text)
    return np.array([value.get(f"i(vt{j})", 0.0) for j in range(n)])


def chip(shape, wires=WIRES, seed=3, defects=None, transistor=None, **simulation):
    """Return a chip of one kernel, without noise and converters."""
    file = {
        "name": "judged",
        "geometry": {"kind": "1T1R", "kernels": 1, "n_rows": shape[0], "n_cols": shape[1]},
        "junction": {"diameter": "80 nm"},
        "simulation": {
            "disturb": False,
            "defects": defects or {},
            "lines": {name: f"{ohm} ohm" for name, ohm in wires.items()},
            "noise": {"relative": 0, "absolute": "0 A", "flicker": 0},
            "converter": {"lsb": "0 A", "full_scale": "1 A"},
            "board": {"dac_lsb": "0 V", "offset": "0 A", "gain": 0},
            "transistor": transistor or {},
            **simulation,
        },
    }
    return ChipDie(DieDescription.model_validate(file, context={"file": True}), seed=seed, name="die")


def measured(die: ChipDie, row, col, gate):
    """Return the (n_cols,) A that the die reads of the same pattern."""
    floating = np.isnan(np.concatenate([row, col]))[None]
    bias = Bias(np.nan_to_num(row)[None], np.nan_to_num(col)[None], gate[None], floating, compliance=1.0)
    return die.sense(Sense(bias, np.arange(len(col)), LONG)).current[0]
