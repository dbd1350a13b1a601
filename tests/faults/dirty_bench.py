"""Benches whose instruments are as somebody left them, and what becomes of a die that is measured on one.

A start is a function of the family and its number: the first starts leave one part after the other, and then one or
two at random. Each is switched off as it was left, and in another twin measured and switched off.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from random import Random

import numpy as np
from faults import dirty_board
from faults.dirty_board import Board

from instruments.bench import Bench
from instruments.emergency import make_safe
from instruments.keithley2400_models import MODELS as MODELS_2400
from instruments.keithley2450_models import MODELS as MODELS_2450
from instruments.keithley2600b_models import MODELS
from labctl.core.bias import Bias
from labctl.core.driver import DriverKind
from labctl.core.errors import LabError
from labctl.core.operations import Pulse, Sense
from labctl.core.site import Site
from labctl.core.units import Kelvin
from labctl.station.bench_setup import on_bench
from labctl.station.simulated import simulated
from labctl.station.twin import Twin
from sim_backend.description import DieDescription
from sim_backend.emulators.generic_source import GenericSource
from sim_backend.emulators.k2400 import K2400
from sim_backend.emulators.k2450 import K2450
from sim_backend.emulators.k2450_tsp import K2450Tsp
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.k2600_smu import ON
from sim_backend.emulators.k81160 import K81160
from sim_backend.emulators.m9615a import M9615ALibrary

SEED = 7
LIMITS = {
    "v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "100 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
}  # fmt: skip
TWO_NEEDLES = {"top": "smu.smua", "bottom": "smu.smub"}
ONE_CHANNEL = {"top": "smu.smua", "bottom": "ground"}
ON_UNITS = {"top": "smu.smu1", "bottom": "smu.smu2"}
ONLY_CHANNEL = {"top": "smu.out", "bottom": "ground"}
PAIR = {"kernels": [{"rows": ["top"], "cols": ["bottom"]}]}
LINES = ["r0", "r1", "c0", "c1", "c2"]
OVER_MATRIX = {
    "channels": {"smu.smua": "A", "smu.smub": "B"},
    "ground": "H",
    "pads": {line: f"1-{1 + k:02d}" for k, line in enumerate(LINES)},
    "kernels": [{"rows": LINES[:2], "cols": LINES[2:]}],
}
SMU = {"driver": "keithley2600b", "resource": "1"}
TEED = {
    "pads": ONLY_CHANNEL,
    "tees": {
        "smu.out": {"pulses": "pulser.out1", "shortest": "5 ns", "longest": "1 us", "junction": ["1 ohm", "1 Mohm"]}
    },
}
OVER_PORTS = {
    "channels": {"smu.smua": "in1", "smu.smub": "in2"},
    "ground": "in12",
    "pads": {line: f"out{6 + 5 * k}" for k, line in enumerate(LINES)},
    "kernels": [{"rows": LINES[:2], "cols": LINES[2:]}],
}
OVER_CARDS = {
    "channels": {"smu.smua": "row1", "smu.smub": "row2"},
    "ground": "row4",
    "pads": {line: f"{1 + k % 2}-{1 + k:02d}" for k, line in enumerate(LINES)},
    "kernels": [{"rows": LINES[:2], "cols": LINES[2:]}],
}
PXI_MATRIX = {
    "channels": {"smu.ch1": "r0", "smu.ch2": "r1"},
    "ground": "r2",
    "pads": {line: f"c{k}" for k, line in enumerate(LINES)},
    "kernels": [{"rows": LINES[:2], "cols": LINES[2:]}],
}
M9615A = {
    "driver": "keysightm9615a", "address": "PXI213::0::INSTR", "ranges_v": ["6 V", "30 V"], "ranges_i": [
        "1 uA", "10 uA", "100 uA", "1 mA", "10 mA", "100 mA",
    ], "shortest_aperture": "20 us", "longest_aperture": "2 s",
}  # fmt: skip
ADAPTED = {
    "pymeasure": ["pymeasure.instruments.keithley.Keithley2400", "pymeasure.instruments.keithley.Keithley2450"],
    "qcodes": [f"qcodes.instrument_drivers.Keithley.Keithley{model}" for model in ("2400", "2450")],
}
"""Classes of other libraries that stand in the place of drivers of ours."""
PROBER = {"driver": "mpi_sentio", "resource": "3", "overtravel_ceiling": "50 um"}
BESIDE_STEPPING = {
    "hottest": "400 K", "soak": "10 s", "clean_every": 1, "clean_on_bad_contact": True, "bins_on_map": True,
}  # fmt: skip
"""What half of the SENTIO stations do beside stepping."""
FOUND: Kelvin = 298.15
"""Temperature at which a station without dirt is found, and to which the chuck is set."""
SOURCE = {
    "driver": "generic_source", "resource": "1", "channels": ["smua", "smub"], "ranges_v": ["0.1 V", "1 V", "6 V"],
    "ranges_i": ["1 uA", "10 uA", "100 uA", "1 mA", "10 mA", "100 mA"], "shortest_pulse": "200 us",
    "shortest_aperture": "20 us", "longest_aperture": "0.4 s",
}  # fmt: skip


def bench_of(family, rng):
    """Return the bench of a family as keys of a file, and the instruments that are left dirty."""
    match family:
        case "keithley2600b":
            model = rng.choice(list(MODELS))
            pads = TWO_NEEDLES if len(MODELS[model].channels) == 2 else ONE_CHANNEL
            return {"smu": SMU | {"model": model}}, {"pads": pads, **PAIR}, ("smu",)
        case "keithley2400" | "keithley2450" | "keithley2450_tsp":
            models = MODELS_2400 if family == "keithley2400" else MODELS_2450
            options = {"model": rng.choice(list(models)), "terminals": rng.choice(["front", "rear"])}
            return {"smu": {"driver": family, "resource": "1"} | options}, {"pads": ONLY_CHANNEL, **PAIR}, ("smu",)
        case "pymeasure" | "qcodes":
            smu = {"driver": family, "resource": "1", "class": rng.choice(ADAPTED[family])}
            return {"smu": smu}, {"pads": ONLY_CHANNEL, **PAIR}, ("smu",)
        case "keysightb1500":
            smu = {"driver": family, "resource": "1", "model": rng.choice(["B1500A", "E5270B"]), "slots": [1, 2]}
            return {"smu": smu}, {"pads": ON_UNITS, **PAIR}, ("smu",)
        case "keysight81160a":
            pulser = {"driver": family, "resource": "2", "outputs": rng.choice([1, 2])}
            smu = {"driver": "keithley2400", "resource": "1"}
            return {"smu": smu, "pulser": pulser}, {**TEED, **PAIR}, ("pulser",)
        case "keithley707b":
            matrix = {"driver": "keithley707b", "resource": "2", "model": rng.choice(["707B", "708B"])}
            return {"smu": SMU, "matrix": matrix}, OVER_MATRIX, ("matrix",)
        case "keithley7001":
            matrix = {"driver": family, "resource": "2", "model": rng.choice(["7001", "7002"])}
            return {"smu": SMU, "matrix": matrix}, OVER_CARDS, ("matrix",)
        case "keysightb2200":
            matrix = {"driver": family, "resource": "2", "model": rng.choice(["B2200A", "B2201A"])}
            return {"smu": SMU, "matrix": matrix}, OVER_PORTS, ("matrix",)
        case "keysightm9615a":
            matrix = {"driver": "niswitch", "device": "PXI1Slot5"}
            return {"smu": M9615A, "matrix": matrix}, PXI_MATRIX, ("smu", "matrix")
        case "mpi_sentio":
            prober = PROBER | (BESIDE_STEPPING if rng.random() < 0.5 else {})
            return {"smu": SMU, "prober": prober}, {"pads": TWO_NEEDLES, **PAIR}, ("prober",)
        case "velox":
            prober = PROBER | {"driver": rng.choice(["velox", "velox_server"])}
            return {"smu": SMU, "prober": prober}, {"pads": TWO_NEEDLES, **PAIR}, ("prober",)
        case "generic":
            source = SOURCE | {"stands": rng.random() < 0.5}
            others = {"matrix": "generic_matrix", "prober": "generic_prober"}
            entries = {name: {"driver": driver, "resource": name} for name, driver in others.items()}
            return {"smu": source, **entries}, OVER_MATRIX, ("smu", "matrix", "prober")
    raise ValueError(f"there is no family {family}")


FAMILIES = (
    "keithley2600b", "keithley2400", "keithley2450", "keithley2450_tsp", "keysight81160a", "keysightb1500",
    "keithley707b", "keithley7001", "keysightb2200", "mpi_sentio", "velox", "keysightm9615a", "generic",
    *dirty_board.BENCHES,
    *(library for library in ADAPTED if find_spec(library)),
)  # fmt: skip
"""By driver; `keysightm9615a` has an NI switch module beside it, and generic are instruments of all kinds. The last are
libraries that are installed."""

CAUSES = {
    r"\.output$|^:OUTPut(2|\[1\])\[:STATe\]$": "is on at",
    r"\.source\.func$": "forcing a current",
    r"^loadscript$": "is being loaded there",
    r"^busy$": "did not answer",
    r"prompts|showerrors|showevents": r"localnode\.(prompts|showerrors|showevents) is 1",
    r"^\*LANG$": "command set is",
    r"^\*IDN\?$": "answers, and the bench file says",
    r"clear_contact": "contact height is not set",
    r"site_heights|separation_gap": "separation gap|overtravel is set",
    r"overtravel": "overtravel is set",
    r"compensat": "may be compensation",
    r"^front_door_open$": "[Ff]ront door is open",
    r"^heights$": "contact height is not set|separation gap|overtravel is set",
    r"vacuum": "vacuum has failed",
    r"^modules$": "and the wiring uses",
    r"^units$": "expected one of B1510A",
    r"^smu\d\.": "is on at|forcing a current",
    r"^cards$": "has no card|which lacks|card of no hardware",
    r"^channel\.setforbidden$": "forbidden to close",
    r"^scan\.background$": "a scan is running there",
    r"^channel\.setlabel$": "labels of channels are those of others",
    r"^home$": "[Hh]ome position is not set",
    r"^ch\d\.1150403$": "is on at",
    r"^module$": "answers, and the driver is for an",
    r"temp(erature)?$|^setpoint$": "contact height was trained",
    r"^thermo$|^cleaning$": "has no such module",
    r"bins": "binning table",
    **dirty_board.CAUSES,
}
"""Parts, and what a refusal because of them has to say; a part that is not here is no reason to refuse."""


@dataclass
class Course:
    """What was left on the instruments of one start, and what became of it.

    Args:
        left: parts as "instrument.part: value".
        refusal: why the die was not measured; "" if it was.
        violated: what does not hold.
    """

    family: str
    number: int
    left: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    violated: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """What a session measures: currents in A and flags of a write and two reads, and the time of those, s."""

    current: tuple[float, ...]
    flag: tuple[int, ...]
    seconds: float


class Start:
    """A bench of a family with dies under its needles, and parts of its instruments left at random values."""

    def __init__(self, family, number, *, clean=False):
        self.course, rng = Course(family, number), Random(f"{family} {number}")
        self.board = Board(family) if family in dirty_board.BENCHES else None
        dirty = self._board() if self.board else self._probes(family, number)
        if not clean:
            self._leave(rng, dirty)
        self.incidents = len(self._incidents())

    def _board(self):
        """Have a board; return its name."""
        board = self.board
        self.key, self.bench, self.moves, self.sites, self.twin = board.key, board.bench, False, board.sites, board.twin
        return board.dirty

    def _probes(self, family, number):
        """Have a bench with needles; return the names of the instruments that are left dirty."""
        instruments, wiring, dirty = bench_of(family, Random(f"bench {family} {number}"))
        keys = {
            "name": family, "instruments": instruments, "wiring": wiring, "limits": LIMITS,
            "contact": {"structures": [[wiring["kernels"][0]["rows"][0], wiring["kernels"][0]["cols"][0]]]},
            "twin": {"ideal_instruments": True},
        }  # fmt: skip
        self.key = repr((instruments, wiring))
        self.bench, self.moves = _bench(self.key, keys), "prober" in instruments
        (kernel,) = wiring["kernels"]
        shape = len(kernel["rows"]), len(kernel["cols"])
        self.sites = [Site(f"D{k}", _die(*shape, f"{80 - 10 * k} nm"), SEED, (k, 0)) for k in range(1 + self.moves)]
        dies = {site.spot: simulated(site) for site in self.sites}
        self.twin = Twin(self.bench, dies, seed=SEED, in_contact=not self.moves)
        return dirty

    def _leave(self, rng, dirty):
        """Leave one part of the state at a random value, or two: each in turn first, and then at random."""
        left = {(name, part): leave for name in dirty for part, leave in self._parts(name).items()}
        number, parts = self.course.number, sorted(left)
        chosen = [parts[number]] if number < len(parts) else list(_at_random(parts, rng))
        with self.twin.world.lock:
            for name, part in chosen:
                value = left[name, part](rng)
                if value is not None:
                    self.course.left[f"{name}.{part}"] = value

    def _parts(self, name):
        return self.emulated(name).leftovers()

    def emulated(self, name):
        """Return an emulated instrument, or the stand-in of a library."""
        return self.twin.instruments.get(name) or self.twin.connect(name, self.bench.instruments[name])

    def _incidents(self):
        return [f"{event.what}: {event.detail}" for event in self.twin.ledger.events if event.what != "refused"]

    def measure(self):
        """Measure the first die: a pulse with its read, and two reads; LabError if the bench refuses."""
        if self.board:
            return _measured(*self.board.measure())
        subject = self.sites[0]
        with on_bench(self.bench, self.sites, "bytes", twin=self.twin, by_hand=not self.moves) as body:
            body.temperature = FOUND
            die = body.approach(subject).die
            shape = subject.description.shape
            m, n = shape.n_rows, shape.n_cols
            write = Bias(np.full((1, m), 0.25), np.full((1, n), 0.25), kernel=np.array(0), pulsed=np.array(0))
            write.row[0, 0], write.col[0, 0] = 0.5, 0.0
            sources = [e.capabilities for e in self.bench.instruments.values() if e.kind is DriverKind.SOURCE]
            width = 50e-9 if self.bench.wiring.tees else max(1e-3, *(known.shortest_pulse for known in sources))
            readings = [die.pulse(Pulse(write, width, _sense(shape, [0], [0])))]
            begin = self.twin.world.now
            readings.append(die.sense(_sense(shape, [0, m - 1], [0, n - 1])))
            seconds = self.twin.world.now - begin
            if self.moves:
                body.leave()
                body.mark(subject, 1)
        return _measured(readings, seconds)

    def switch_off(self):
        """Switch the bench off as `labctl off` does, and add what does not hold to the course."""
        try:
            make_safe(self.bench, connect=self.twin.connect, wait=self.twin.wait)
        except LabError as error:
            self.course.violated.append(f"off: {error}")
        self.course.violated += [f"off: {text}" for text in self._live()]

    def _live(self):
        """Yield every output that is not off at 0 V, and closed relays."""
        if self.board:
            yield from self.board.live()
        for name, instrument in ((name, self.emulated(name)) for name in self.bench.instruments):
            if isinstance(instrument, K2600):
                for channel, smu in instrument.smus.items():
                    if smu.set.output == ON or smu.set.levelv or smu.set.leveli:
                        yield f"{name}.{channel} is {smu.set.output} at {smu.set.levelv} V, {smu.set.leveli} A"
            if isinstance(instrument, K2400 | K2450 | K2450Tsp):
                smu = instrument.smu
                levels = (smu.set.level_v, smu.set.level_i)
                if getattr(instrument, "language", "") == "TSP" and isinstance(instrument, K2450):
                    levels = (instrument.level,)  # TSP names the level of the present function, and no other one
                if smu.output or any(levels):
                    yield f"{name} is {smu.output} at {smu.set.level_v} V, {smu.set.level_i} A"
            if isinstance(instrument, K81160 | M9615ALibrary):
                for channel, volts in instrument.outputs().items():
                    yield f"{name}.{channel} is on at {volts} V"
            if isinstance(instrument, GenericSource):
                for channel, state in instrument.channels.items():
                    if state.output or state.level:
                        yield f"{name}.{channel} is {state.output} at {state.level} V"
            if closed := getattr(instrument, "closed", None) or getattr(instrument, "shut", None):
                yield f"{name}: {', '.join(sorted(closed))} closed"

    def judge(self, measured):
        """Add to the course what does not hold of a session: what it has measured or refused, and done meanwhile."""
        course = self.course
        clean = _clean(self.key, course.family, course.number)
        if measured is not None:
            if not np.allclose(measured.current, clean.current, rtol=1e-6, atol=0) or measured.flag != clean.flag:
                course.violated.append(f"measured {measured}, and {clean} without what was left")
            elif abs(measured.seconds - clean.seconds) > 1e-6:
                course.violated.append(
                    f"a read takes {measured.seconds} s, and {clean.seconds} s without what was left"
                )
        else:
            parts = [left.partition(".")[2] for left in course.left]
            words = [text for part in parts for pattern, text in CAUSES.items() if re.search(pattern, part)]
            if not any(re.search(text, course.refusal) for text in words):
                course.violated.append(f"refused without the name of the cause: {course.refusal}")
        course.violated += self._incidents()[self.incidents :]


def _measured(readings, seconds):
    """Return what a session has measured of the first column of each reading."""
    return Measured(
        tuple(float(current) for reading in readings for current in reading.current[:, 0]),
        tuple(int(flag) for reading in readings for flag in reading.flag[:, 0]),
        seconds,
    )


def _sense(shape, rows, cols):
    """Return a read at 100 mV of one cell after the other."""
    row = np.zeros((len(rows), shape.n_rows))
    row[np.arange(len(rows)), rows] = 0.1
    return Sense(Bias(row, np.zeros((len(rows), shape.n_cols)), kernel=np.array(0)), np.array(cols)[:, None])


def carry_out(family, number):
    """Return the course of one start: switched off as it was left, and in another twin measured and switched off."""
    start = Start(family, number)
    start.switch_off()
    again = start
    if not all(part.startswith("prober.") for part in start.course.left):  # off touches no prober: it is still as left
        again = Start(family, number)
        again.course.violated += start.course.violated
    measured = None
    try:
        measured = again.measure()
    except LabError as error:
        again.course.refusal = str(error)
    except Exception as error:
        again.course.violated.append(f"a bug: {type(error).__name__}: {error}")
        return again.course
    again.judge(measured)
    again.switch_off()
    return again.course


@cache
def _die(n_rows, n_cols, diameter):
    """Return an ideal die whose junctions have a diameter."""
    keys = {
        "name": "die",
        "geometry": {"kernels": 1, "n_rows": n_rows, "n_cols": n_cols},
        "junction": {"diameter": diameter},
        "simulation": {"ideal": True},
    }
    return DieDescription.model_validate(keys, context={"file": True})


_BENCHES, _CLEAN = {}, {}


def _bench(key, keys):
    """Return the bench of some keys; a bench is read once."""
    if key not in _BENCHES:
        _BENCHES[key] = Bench.model_validate(keys, context={"file": True})
    return _BENCHES[key]


def _clean(key, family, number):
    """Return what is measured on the bench of a start with nothing left on it."""
    if key not in _CLEAN:
        _CLEAN[key] = Start(family, number, clean=True).measure()
    return _CLEAN[key]


def _at_random(parts, rng):
    """Yield one part or two, the second often of the same object: a REL level and its switch. Masks come seldom."""
    telling = [part for part in parts if not part[1].startswith("status.")]
    first = rng.choice(telling if rng.random() < 0.95 else parts)
    yield first
    if rng.random() < 0.7:
        near = [p for p in telling if p != first and p[1].rpartition(".")[0] == first[1].rpartition(".")[0]]
        yield rng.choice(near if near and rng.random() < 0.5 else telling)
