"""A Daffodil board through a fake of an object of its makers' library: the same as through our server, and refusals."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from instruments.board_bench import BoardBench
from instruments.daffodil_library import DaffodilLibrary, Installed, Options
from instruments.open_board import BareBoard, BoardDie, open_board
from labctl.boards.daffodil import registers as reg
from labctl.core.bias import Bias
from labctl.core.board import Releasing
from labctl.core.errors import BenchError, InstrumentError, LimitError
from labctl.core.limits import Limits
from labctl.core.operations import Flag, Pulse, Sense, WritePlan
from labctl.core.write_loop import program_by_host
from labctl.station.twin import Twin
from labctl.testing import check_body
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.daffodil_analog import Defects
from sim_backend.emulators.daffodil_object import ATTRIBUTES, CALLS, FakeObject, Unfaked, emulate
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.world import Cables, World
from tests.small_chip import STILL, V_GATE, chip, on_board, read, set_states, write

CLASS = "daffodillib.Board.controller.Daffodil_Phys"
WIDE = Limits(
    v_towards_p=2.0, v_towards_ap=2.0, width=1.0, compliance=1.0, v_gate=3.3, v_count=0.5, pulses_per_cell=10**9
)
ONE = (np.array([0]), np.array([2]), np.array([1]))


def through(die, *, ideal=True, **options):
    """Return the driver of a chip through the fake, and the fake."""
    kernels, n_rows, n_cols = die.geometry.shape
    shape = {"kernels": kernels, "n_rows": n_rows, "n_cols": n_cols}
    chosen = Options.model_validate({"class": CLASS, **shape, **options})
    context = EmulatorContext(
        World(Cables({}, {}), lambda x, y, site: None), StationMap(((0, 0),)), die=die, ideal=ideal
    )
    library = emulate("board", chosen, context)
    board = DaffodilLibrary("board", chosen, library)
    board.turn_to(die.nominal, die.geometry.polarity)
    return SimpleNamespace(board=board, library=library, emulated=library.board, options=chosen)


def all_cells(kernels, n_rows, n_cols):
    return tuple(index.ravel() for index in np.indices((kernels, n_rows, n_cols)))


@pytest.mark.parametrize("ideal", [True, False])
def test_it_keeps_the_contract_of_bodies(ideal):
    def make(polarity):
        board = through(chip(polarity=polarity, **STILL), ideal=ideal).board
        return BoardDie(BareBoard(board, board.nominal), WIDE)

    check_body(make, v_write=0.9, v_gate=V_GATE)


def test_readings_and_cells_are_those_through_the_server():
    cells, rng = all_cells(2, 5, 4), np.random.default_rng(4)
    target = rng.random(40) < 0.5
    readings, states = [], []
    for make in (through, on_board):
        on = make(chip(2, 5, 4, ideal=True))
        pulse = write(on.board, *cells, target)
        reading = on.board.pulse(Pulse(pulse.bias, pulse.width, read(on.board, *cells)))
        levels = np.linspace(-0.1, 0.1, 150).reshape(30, 5)
        vectors = Bias(levels, np.zeros((30, 4)), np.full((30, 5), 1.6))
        every = on.board.sense(Sense(vectors, np.arange(4)))
        assert not reading.flag.any()
        readings.append((reading.current, every.current))
        emulated = on.emulated if make is through else on.server.board
        states.append(emulated.chip.truth()["state"])
        assert emulated.audit.refused == []
        assert on.board.state() == {}
    assert all(np.array_equal(*pair) for pair in zip(*readings, strict=True))
    assert np.array_equal(*states)
    assert np.array_equal(states[0].ravel(), target)


def test_no_call_is_made_twice_that_changes_nothing(monkeypatch):
    on = through(chip(1, 5, 4, ideal=True))
    on.board.sense(read(on.board, *ONE))
    codes, load = [], FakeObject._load
    monkeypatch.setattr(FakeObject, "_load", lambda self, *given: (codes.append(given), load(self, *given)))
    on.board.sense(read(on.board, *(np.repeat(i, 100) for i in ONE)))
    assert len(codes) < 30, "a code of a line was written although it was there"


def test_a_write_plan_has_the_attempts_of_the_host_loop():
    cells = all_cells(2, 5, 4)
    ladder, target = np.array([0.4, 0.5, 0.55, 0.6, 0.8]), np.random.default_rng(6).random(40) < 0.5
    made = []
    for _ in range(2):
        on = through(chip(2, 5, 4, ideal=True))
        cut = np.asarray(on.board.nominal.cut(cells[0]))
        bias = write(on.board, *cells, target, 1.0).bias
        plan = WritePlan(
            bias, read(on.board, *cells), target, cut, 0.1, ladder, np.random.default_rng(7).integers(0, 3, 40), 1e-3
        )
        made.append(program_by_host(on.board, plan) if made else on.board.program(plan))
    inside, host = made
    order = np.lexsort((host.cell, host.attempt))
    for name in ("cell", "attempt", "voltage", "flag"):
        assert np.array_equal(getattr(inside, name), getattr(host, name)[order]), name
    assert np.array_equal(inside.verified, host.verified)
    assert 0 < inside.verified.sum() < 40


# -- limits


LIMITS = Limits(
    v_towards_p=0.6, v_towards_ap=0.5, width=1e-3, compliance=5e-3, v_gate=2.5, v_count=0.5, pulses_per_cell=10**9
)


def test_random_biases_in_every_mode_show_no_cell_and_no_gate_more_than_the_limits():
    on = through(chip(1, 3, 2, **STILL))
    on.board.keep_within(LIMITS)
    die, rng = BoardDie(BareBoard(on.board, on.board.nominal), LIMITS), np.random.default_rng(11)
    done = refused = 0
    for _ in range(400):
        reads = rng.random() < 0.5
        row, col = rng.uniform(-0.4, 0.4, (5, 3)), rng.uniform(-0.4, 0.4, (5, 2)) * (not reads)
        gate = rng.uniform(0, 2.6, (5, 3)) * (rng.random((5, 3)) < 0.5)
        floating = rng.random((5, 5)) < rng.choice([0.0, 0.3])
        bias = Bias(row, col, gate, floating)
        try:
            die.perform(Sense(bias, np.arange(2), 20e-6) if reads else Pulse(bias, 1e-6))
            done += 1
        except LimitError:
            refused += 1
    audit = on.emulated.audit
    assert audit.refused == []
    assert min(done, refused) > 30
    assert 0.45 < audit.towards_p <= 0.6
    assert 0.4 < audit.towards_ap <= 0.5
    assert 2.3 < audit.gate <= 2.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": 3.3}, "a gate at 3.3 V; .* from -0.0008 to 3.2988 V"),
        ({"row": 2.5}, "a line at 2.5 V; .* from -0.7996 to 2.4988 V"),
        ({"col": 0.01}, "a column at 0.01 V while columns are read"),
    ],
)
def test_what_the_object_would_clip_or_take_is_refused_before_it_is_called(change, message):
    on = through(chip())
    sense = read(on.board, *ONE)
    changed = {name: getattr(sense.bias, name).copy() for name in ("row", "col", "gate")}
    for name, volts in change.items():
        changed[name][0, 2] = volts
    with pytest.raises(BenchError, match=message):
        on.board.sense(Sense(Bias(**changed), sense.cols))
    assert on.library.objects == 0


def test_a_clipped_output_of_an_amplifier_is_flagged():
    on = through(chip(1, 5, 4, **STILL), feedback=20e3)
    set_states(on.board, 0, np.ones((5, 4), np.bool_))
    flags = [int(on.board.sense(read(on.board, *ONE, volts)).flag[0, 0]) for volts in (0.1, 0.7, -0.7)]
    assert flags == [0, Flag.OVERRANGE | Flag.COMPLIANCE, Flag.COMPLIANCE]


# -- taken, and given back


def test_connecting_makes_no_object_and_the_first_operation_or_off_does():
    on = through(chip())
    assert on.board.connect() == "mtj-labctl,Daffodil_Phys,,fake of daffodillib"
    assert on.board.state() == {}
    assert on.board.diagnosis() == (["not taken: what its lines do is not known; taking it initialises it"], [])
    assert on.library.objects == 0
    with pytest.raises(InstrumentError, match="not taken: whether it is off is not known"):
        on.board.verify_off()
    on.board.off()
    on.board.verify_off()
    assert on.library.objects == 1
    assert "every line at rest, verified by the board: yes" in on.board.diagnosis()[0]
    on.board.close()
    on.board.sense(read(on.board, *ONE))
    assert on.library.objects == 2
    assert on.board.emergency_off() == {}


def test_the_chip_keeps_its_power_and_nobody_is_told_otherwise():
    assert not isinstance(through(chip()).board, Releasing)


@pytest.mark.parametrize("call", [name for name in CALLS if name not in ("set_compliance_control", "set_dpot_D")])
def test_whatever_a_call_raises_is_an_error_of_the_board_which_is_at_rest_behind_it(monkeypatch, call):
    on = through(chip())
    on.board.sense(read(on.board, *ONE))
    count, whole = [], getattr(FakeObject, call)

    def fails_once(self, *given):
        count.append(given)
        if len(count) == 1:
            raise ZeroDivisionError("smoke")
        return whole(self, *given)

    monkeypatch.setattr(FakeObject, call, fails_once)
    pulse = write(on.board, *(np.array([i]) for i in (1, 2, 1)), np.array([False]))
    sense = read(on.board, *(np.array([i]) for i in (1, 2, 1)), 0.2)
    verified = Pulse(pulse.bias, pulse.width, sense)
    if call == "setrefopamp":  # the reference stays as it was set
        on.board.pulse(verified)
        assert not count
    else:
        with pytest.raises(InstrumentError, match="smoke"):
            on.board.pulse(verified)
    on.board.idle()
    on.board.verify_off()


@pytest.mark.parametrize(
    ("defects", "words"),
    [
        (Defects(saturated={1: 0.0}), "the amplifier of row 1 reads code 0 at rest"),
        (Defects(saturated={1: 3.3}), "the amplifier of row 1 reads code 2703 at rest"),
        (Defects(dead={0: 0}), "the amplifier of row 0 reads code 0 at rest"),
        (Defects(dead={0: reg.TOP_CODE}), "the amplifier of row 0 reads code 4095 at rest"),
        (Defects(unsupplied=True), "the amplifier of row 0 reads code 0 at rest"),
    ],
)
def test_what_was_read_while_a_part_of_the_board_has_failed_is_no_reading(defects, words):
    on = through(chip())
    on.board.sense(read(on.board, *ONE))
    on.emulated.defects = defects
    with pytest.raises(InstrumentError, match=words):
        on.board.sense(read(on.board, *ONE))
    on.emulated.defects = Defects()
    on.board.emergency_off()
    on.board.verify_off()
    assert on.board.sense(read(on.board, *ONE)).flag.tolist() == [[0]]


def test_a_line_that_takes_no_code_reads_as_open_since_the_object_remembers_codes():
    on = through(chip())
    on.board.sense(read(on.board, *ONE))
    on.emulated.defects = Defects(stuck=frozenset({reg.column_dac(int(ONE[1][0]))}))
    assert on.board.sense(read(on.board, *ONE, 0.2)).current.tolist() == [[0.0]]


def test_outputs_that_another_program_has_changed_are_no_reading():
    on = through(chip())
    on.board.sense(read(on.board, *ONE))
    event = FakeObject.event
    made = on.board._served.hardware._board

    def stolen(self):
        event(self)
        self.RA1 = 1

    FakeObject.event = stolen
    try:
        with pytest.raises(InstrumentError, match="another program drives the board"):
            on.board.sense(read(on.board, *ONE))
    finally:
        FakeObject.event = event
    assert made.RA1 == 1
    on.board.emergency_off()
    on.board.verify_off()


def test_a_feedback_that_the_object_has_otherwise_is_named():
    on = through(chip())
    on.emulated.analog.points[2] *= 1.1
    with pytest.raises(InstrumentError, match=r"column 2 is 2203.44 ohm as .*Daffodil_Phys has it, and 2003.12 ohm by"):
        on.board.sense(read(on.board, *ONE))


def test_gates_that_the_object_does_not_exchange_are_refused_by_name(monkeypatch):
    on = through(chip(), swapped_gates=True)
    monkeypatch.setattr(FakeObject, "set_kernel", lambda self, kernel, swfix_en=False: None)
    with pytest.raises(InstrumentError, match="does not exchange gates 13 and 14"):
        on.board.off()


def test_exchanged_gates_open_the_same_cells():
    die = chip(1, 20, 4, ideal=True)
    on = through(die, swapped_gates=True)
    states = np.zeros((20, 4), np.bool_)
    states[13, 1] = states[14, 2] = True
    set_states(on.board, 0, states)
    assert np.array_equal(die.truth()["state"][0], states)


def test_an_object_of_another_shape_is_refused(monkeypatch):
    monkeypatch.setattr(FakeObject, "xdim", 24)
    with pytest.raises(BenchError, match="has 32 kernels of 24 x 25; expected 32 of 25 x 25"):
        through(chip()).board.off()


def test_names_that_are_not_faked_are_errors():
    fake = through(chip()).library.make(None)
    for act in (lambda: fake.read_all, lambda: setattr(fake, "selected_kernel", 3)):
        with pytest.raises(Unfaked):
            act()
    assert all(hasattr(fake, name) for name in (*CALLS, *ATTRIBUTES))


# -- the class as it is installed


def test_a_class_is_imported_from_its_folder_and_called_with_arguments_and_what_it_prints_is_dropped(tmp_path, capsys):
    text = (
        "print('hello')\nclass Board:\n    def __init__(self, kind):\n        print(kind)\n        self.kind = kind\n"
    )
    (tmp_path / "boards_of_ours.py").write_text(text)
    options = Options.model_validate({"class": "boards_of_ours.Board", "arguments": ["x"], "folder": str(tmp_path)})
    library = Installed()
    try:
        assert library.find(options) == "usnistgov,Board,,daffodillib of unknown version"
        assert library.make(options).kind == "x"
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["boards_of_ours"]
    assert capsys.readouterr().out == ""
    before = library.now()
    library.wait(1e-4)
    assert library.now() >= before + 1e-4


def test_a_simulator_has_no_time_but_that_which_is_waited_for():
    library = Installed()
    options = Options.model_validate({"class": "types.SimpleNamespace"})
    assert library.make(options).__dict__ == {}
    library._untimed = True
    library.wait(30.0)
    assert library.now() == 30.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class": "no_such_module.Board"}, "'no_such_module.Board' cannot be imported: ModuleNotFoundError.*clone"),
        ({"class": "json.Board"}, "'json.Board' cannot be imported: AttributeError"),
        ({"class": "json.Board", "folder": "/no/such/folder"}, "folder /no/such/folder: there is none"),
    ],
)
def test_a_class_that_is_not_there_is_refused_when_it_is_connected(options, message):
    board = DaffodilLibrary("board", Options.model_validate(options), Installed())
    with pytest.raises(BenchError, match=message):
        board.connect()


def test_an_object_that_cannot_be_made_is_an_error_of_the_instrument():
    board = DaffodilLibrary(
        "board", Options.model_validate({"class": "json.JSONDecoder", "arguments": ["x"]}), Installed()
    )
    with pytest.raises(InstrumentError, match=r"json.JSONDecoder could not be made, and brought to rest: TypeError"):
        board.off()


def test_an_option_of_a_wrong_name_is_refused_and_a_class_is_needed():
    with pytest.raises(ValidationError, match="class"):
        Options.model_validate({})


def test_the_bench_of_such_a_board_is_opened_on_its_twin_and_made_safe():
    die = chip(2, 5, 4, **STILL)
    shape = {"kernels": 2, "n_rows": 5, "n_cols": 4}
    file = {
        "name": "theirs",
        "body": {"driver": "daffodil_library", "class": CLASS, "unpinned": True, **shape},
        "limits": {
            "v_towards_p": 1.3,
            "v_towards_ap": 1.3,
            "width": 0.01,
            "compliance": 0.005,
            "v_gate": 3.29,
            "ramp_rate": 1000.0,
        },
        "programming": "instrument",
    }
    bench = BoardBench.model_validate(file)
    assert bench.body.resource == f"Daffodil board of this computer, {CLASS}"
    twin = Twin(bench, {(0, 0, 0): die})
    with open_board(bench, connect=twin.connect) as opened:
        body = opened.turn_to(die.nominal)
        assert body.sense(read(body, *ONE)).flag.tolist() == [[0]]
        assert body.scripts is not None
    assert not opened.board._served.made
    with pytest.raises(BenchError, match="no emulator that can be on a socket"):
        Twin(bench, {(0, 0, 0): die}, sockets=True)
