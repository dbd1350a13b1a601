"""Read one mutated file, as every command does that names such a file, and judge how that ends.

Every ending is a reading or a refusal: a LabError whose exit code is 2, with the file, what was found or what was
expected, and nothing that a terminal obeys. What was read can be stored. A reading takes at most `PATIENCE` of process
time. The files are a function of kind and number alone, and of whether pymeasure is installed.
"""

import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
from faults import map_mutations, npz_mutations, yaml_mutations

from instruments.bench import Bench
from instruments.bench_file import read_bench
from instruments.board_bench import BoardBench
from labctl import files
from labctl.config.campaign import WaferEntry
from labctl.config.wafer_file import WaferFile, lay_out
from labctl.core.errors import LabError
from labctl.core.exit_codes import ExitCode
from labctl.files import document, messages
from labctl.networks import datasets
from labctl.networks.trained_network import read_trained
from labctl.station import composition
from labctl.station.registry import campaign_model
from sim_backend.description import DieDescription

EXAMPLES = Path(__file__).parents[2] / "examples"
KINDS = ("campaign", "die", "wafer", "bench", "map", "npz")
PATIENCE = 2.0
"""Process time that a reading may take, s."""
HUNG = 60
"""Process time after which a reading is broken off, s."""
ASLEEP = 900
"""Time after which what waits, and uses no process time, is broken off, s; a busy machine lets nobody wait as long."""
LONGEST = 20_000
"""Characters of a message that somebody still reads."""
EXPECTED = (
    *("expected", "did you mean", "is missing", "no such file", "cannot be read", "must", "there are", "there is no"),
    *(
        "are both on",
        "would be shorted",
        "are used by",
        "is not in the wiring",
        "such as",
        "is not a",
        "is not one of",
        "is not on wafer",
        "; it has",
    ),
)
"""Words with which a refusal says what should have been there, or which two things exclude each other."""
OF_MAP = "of-map.yaml"
"""The wafer file that names a mutated map; a key of it that is not for such a map is refused in its name."""
CAMPAIGN = """
name: small
title: all that a campaign may say
seed: 5
wafer:
  file: wafer.yaml
  die: dies/passive-15x15.yaml
  change: {junction: {diameter: 70 nm}}
  exclude: [x1y0]
  subsites: [{name: A, x: 0 um, y: 0 um}, {name: B, x: 200 um, y: -100 um}]
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 0.4 V, pulses_per_cell: 9}
stages:
  - survey: {v_read: 100 mV}
  - network:
      solutions: solutions.npz
      data: data.npz
      placement: [{kernel: 0, row: 0, col: 0}, {kernel: 1, row: 2, col: 1}]
      write_verify: {scheme: half, width: 1 ms, v_start: 420 mV, v_step: 20 mV, v_max: 600 mV}
      inference: {mode: superposition, v_read: 100 mV}
      preprocess: {scale: true}
bins:
  - {bin: leaky, hard: 9, when: fidelity < 90 % and good > 10 %}
accept: {fidelity: 98 %, accuracy: 85 %}
notify: {command: [sh, -c, cat], on: [alarm, end], timeout: 5 s}
batch:
  order: centre-out
  tries: 1
  pretest: 2
  golden: {die: W01-x0y1-A, every: 2, drift: {r_p: 3 %}, measure: read}
  stop: {contact_failures: 3, same_exception: 2, low_yield: {below: 50 %, after: 6}, pretest: 50 %, golden_drift: true}
  budgets: {time: 14 h}
  reconnects: 2
"""
WAFER = """
name: W01
map: [.XX., XXXX, .XX.]
pitch_x: 2
pitch_y: 1
fiducials: []
vary:
  ra: {sigma: 2 %, radial: 4 %, tilt_x: 1 %, tilt_y: -1 %}
  tmr: {sigma: 2 %, radial: -3 %}
  v_c0: {sigma: 1 %, radial: 1 %}
  defects: {sigma: 30 %, radial: 50 %}
"""
LISTED = """
name: W02
dies: {A1: [0, 0], A2: [1, 0], B1: [0, 1], R-9: [-3, 7]}
"""
MAPPED = """
name: W03
map_file: map.csv
map_reading: {origin: upper left}
"""


@dataclass
class Course:
    """One file and what came of it.

    Args:
        mutation: what was done to it.
        ending: "read" or "refused"; "" if it ended otherwise.
        message: of the refusal, its first characters.
        violated: what does not hold.
        seconds: process time.
    """

    kind: str
    number: int
    mutation: str = ""
    ending: str = ""
    message: str = ""
    violated: list[str] = field(default_factory=list)
    seconds: float = 0.0


@cache
def place():
    """Return a folder with the files that others name, as they should be; it is removed at the end of the process."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="inputs-", dir=memory if os.access(memory, os.W_OK) else None))
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    restore(folder)
    return folder


def restore(folder):
    """Write the files that others name."""
    shutil.copytree(EXAMPLES / "dies", folder / "dies", dirs_exist_ok=True)
    shutil.copytree(EXAMPLES / "wafers", folder / "wafers", dirs_exist_ok=True)
    for name in ("wine-solutions.npz",):
        shutil.copyfile(EXAMPLES / name, folder / name)
    for name, text in (
        ("wafer.yaml", WAFER),
        ("listed.yaml", LISTED),
        ("mapped.yaml", MAPPED),
        ("map.csv", map_mutations.TABLE),
    ):
        (folder / name).write_text(text)
    np.savez(folder / "solutions.npz", **trained())
    np.savez(folder / "data.npz", **samples())


def trained():
    """Return three networks of 4, 3 and 2 neurons as the arrays of their file."""
    dice = np.random.default_rng(3)
    return {
        "index": np.arange(3),
        "fc1_devices": dice.integers(0, 2, (3, 4, 6)).astype(np.uint8),
        "fc1_bias": dice.normal(size=(3, 3)),
        "fc2_devices": dice.integers(0, 2, (3, 3, 4)).astype(np.uint8),
        "fc2_bias": dice.normal(size=(3, 2)),
        "scale": np.ones((3, 2)),
        "votes": np.array(1),
        "training": np.array('{"preprocess": {}, "activation": "tanh", "data": "mine"}'),
    }


def samples():
    """Return 12 samples to train and 5 to test, of 4 features and 2 classes, as the arrays of their file."""
    dice = np.random.default_rng(4)
    x, y = dice.uniform(-1, 1, (17, 4)), np.arange(17) % 2
    return {"x_train": x[:12], "y_train": y[:12], "x_test": x[12:], "y_test": y[12:]}


@cache
def bases(kind):
    """Return the files of a kind that are mutated, as text."""
    match kind:
        case "campaign":
            return CAMPAIGN, *(
                (EXAMPLES / f"{n}.yaml").read_text() for n in ("wine-passive", "survey-wafer", "overnight-bench")
            )
        case "die":
            return tuple(path.read_text() for path in sorted((EXAMPLES / "dies").glob("*.yaml")))
        case "wafer":
            return WAFER, LISTED, MAPPED
    benches = [path.read_text() for path in sorted(EXAMPLES.glob("bench-*.yaml"))]
    # a bench of foreign drivers is only read where their package is
    return tuple(text for text in benches if find_spec("pymeasure") or "driver: pymeasure" not in text)


@cache
def schema(model):
    """Return the JSON schema of a model."""
    return files.schema(model)


def keys_of(kind, text):
    """Return the function that gives the keys that the mapping at a path of a file may have."""
    return _keys_of(kind, text)


@cache
def _keys_of(kind, text):
    models = {"campaign": campaign_model, "die": lambda: DieDescription, "wafer": lambda: WaferFile}
    model = models.get(kind, lambda: BoardBench if "\nbody:" in text else Bench)()
    root = document.parse(text, Path("x")).root
    return lambda at: messages.known_keys(schema(model), root, at)


def mutated(kind, number):
    """Return the dice of a file after it was made, what was done to it, its name and its content."""
    rng = random.Random(f"{kind} {number}")
    if kind == "map":
        return rng, *map_mutations.mutated(rng)
    if kind == "npz":
        return rng, *npz_mutations.mutated(rng, rng.choice([trained, samples])())
    text = rng.choice(bases(kind))
    return rng, *yaml_mutations.mutated(rng, text, keys_of(kind, text))


def read(kind, path, rng):
    """Read a file of a kind as the commands do, and return what they store of it."""
    if kind == "campaign":
        return composition.read(path, {}, door=files.Door(path.parent))
    if kind == "die":
        return files.load(path, DieDescription)
    if kind == "bench":
        return read_bench(path).value
    if kind == "npz":
        if rng.random() < 0.2:
            which = "solutions" if rng.random() < 0.5 else "data"
            return composition.read(path.parent / "campaign.yaml", {which: str(path)}, door=files.Door(path.parent))
        return (read_trained if rng.random() < 0.5 else datasets.load)(path)
    wafer = path
    if kind == "map":
        wafer = path.parent / OF_MAP
        reading = json.dumps(rng.choice([{}, rng.choice(map_mutations.READINGS)]))
        wafer.write_text(f"name: W3\nmap_file: {path.name}\nmap_reading: {reading}\n")
    loaded = files.read(wafer, WaferFile)
    entry = WaferEntry(file=wafer, die=path.parent / "dies/passive-15x15.yaml")
    return lay_out(entry, loaded)


def special(kind, path, rng):
    """Put something at a path that is no file to be read, and return what it is; "" mostly."""
    chance = rng.random()
    if chance > 0.012:
        return ""
    makers = {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "missing": lambda: None,
        "device": lambda: path.symlink_to("/dev/zero"),
        "terminal": lambda: path.symlink_to("/dev/tty"),
        "loop": lambda: path.symlink_to(path),
        "endless": lambda: path.symlink_to("/proc/self/mem"),
        "sparse": lambda: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
    }
    name = rng.choice(list(makers))
    makers[name]()
    return name


@contextmanager
def alarm(seconds):
    """Break off what uses more process time than this, or waits for `ASLEEP`."""

    def hung(number, frame):
        raise TimeoutError("it hung")

    before = {one: signal.signal(one, hung) for one in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(ASLEEP)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for one, handler in before.items():
            signal.signal(one, handler)


def carry_out(kind, number):
    """Make a file, read it, and return its course."""
    rng, mutation, content = mutated(kind, number)
    course = Course(kind, number, mutation)
    folder = place()
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    suffix = {"npz": ".npz", "map": rng.choice([".csv", ".xml"])}.get(kind, ".yaml")
    path = folder / f"mutated{suffix}"
    if what := special(kind, path, rng):
        course.mutation = what
    else:
        path.write_bytes(content)
    try:
        judge(course, lambda: read(kind, path, rng), path.name)
    finally:
        with suppress(OSError):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    return course


def judge(course, reading, name):
    """Read, and note in the course how that ends and what does not hold."""
    printed = StringIO()
    begin = time.process_time()
    with warnings.catch_warnings(record=True) as warned, redirect_stdout(printed), redirect_stderr(printed):
        warnings.simplefilter("always")
        try:
            with alarm(HUNG):
                value = reading()
            course.ending = "read"
        except LabError as error:
            course.ending, course.message = "refused", str(error)[:400]
            course.violated += list(wrong_with(error, name))
        except BaseException as error:  # whatever it is, it is a result
            last = traceback.extract_tb(error.__traceback__)[-3:]
            at = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(last))
            course.violated.append(f"{type(error).__name__}: {str(error)[:200]} at {at}")
            value = None
    course.seconds = round(time.process_time() - begin, 3)
    if course.ending == "read":
        course.violated += [f"what was read cannot be stored: {text}" for text in unstorable(value)]
    if course.seconds > PATIENCE:
        course.violated.append(f"{course.seconds:g} s of process time, {PATIENCE:g} s allowed")
    course.violated += [
        f"warning: {str(one.message)[:200]} at {Path(one.filename).name}:{one.lineno}" for one in warned
    ]
    if printed.getvalue():
        course.violated.append(f"printed: {printed.getvalue()[:200]}")


def wrong_with(error, name):
    """Yield what is wrong with the message of a refusal of the file `name`."""
    text = str(error)
    if error.exit_code is not ExitCode.REFUSED:
        yield f"exit code {error.exit_code}"
    if name not in text and str(place()) not in text:  # it may be another file that it does not fit to
        yield f"the message does not name {name}"
    if odd := next((c for c in text if not (c.isprintable() or c in "\n\t")), None):
        yield f"the message has U+{ord(odd):04X}"
    if len(text) > LONGEST:
        yield f"the message has {len(text):,} characters"
    if not any(words in text for words in EXPECTED):
        yield "the message does not say what was expected"


def unstorable(value):
    """Yield what of a value that was read no file can hold, or a terminal obeys."""
    texts = []
    with suppress(AttributeError):
        texts.append(json.dumps(value.to_json(), allow_nan=False))
        texts.append(json.dumps(value.provenance(), allow_nan=False))
    with suppress(AttributeError):
        texts.append(json.dumps(value.model_dump(mode="json"), allow_nan=False))
    for text in texts:
        for odd in {c for t in strings(json.loads(text)) for c in t if not (c.isprintable() or c in "\n\t")}:
            yield f"U+{ord(odd):04X}"
    if hasattr(value, "map"):
        for p in value.map.places:
            if odd := next((c for c in p.name + p.bin + p.excluded if not c.isprintable()), None):
                yield f"U+{ord(odd):04X} of {p}"
        for text in (value.map.wafer, value.map.lot):
            if not text.isprintable():
                yield f"{text!r}"
    for name in ("x_train", "x_test", "scale"):
        array = getattr(value, name, None)
        if array is not None and not np.isfinite(array).all():
            yield f"{name} has values that are not finite"
    for name in ("y_train", "y_test"):
        if hasattr(value, name) and getattr(value, name).min() < 0:
            yield f"{name} is negative"


def strings(tree):
    """Yield all texts of plain data, keys included."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from strings(value)
