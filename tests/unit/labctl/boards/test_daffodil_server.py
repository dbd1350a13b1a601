"""The server of a Daffodil board: what it asks of Python, its conversation, its lease, and that it ends at rest."""

import ast
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from instruments.daffodil_events import DTYPE
from labctl.boards import daffodil
from labctl.boards.daffodil import patterns as packed
from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.__main__ import Server, main
from labctl.boards.daffodil.engine import Aborted, Engine, Refused
from labctl.boards.daffodil.patterns import READ, REST, WRITE, Pattern
from labctl.boards.daffodil.proof import Fault
from labctl.boards.daffodil.service import Service
from sim_backend.emulators.daffodil_analog import Analog, Defects
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.daffodil_files import BoardFiles, MappedHardware
from sim_backend.emulators.world import Cables, World
from tests.small_chip import chip
from tests.waiting import PATIENCE

FOLDER = Path(daffodil.__file__).parent
CLAIM = {"version": packed.VERSION, "client": "bench", "lease": 5.0}
REST_CODE, CLOSED, OPEN = 2048, 1393, 4000


@pytest.fixture
def board():
    points = np.array([(100.0, 100e3)] * reg.LINES)
    analog = Analog(points, (0, 255), np.ones(reg.LINES), np.zeros(reg.LINES))
    return EmulatedBoard(chip(2, 5, 4, ideal=True), analog, World(Cables({}, {}), lambda x, y, site: None))


@pytest.fixture
def engine(board):
    engine = Engine(board)
    engine.initialise()
    return engine


@pytest.fixture
def service(engine, board):
    return Service(engine, "17", board.now)


def pattern(mode=READ, *, column=2130, row=REST_CODE, gate=OPEN, clocks=40_000, **other):
    codes = [column] + [REST_CODE] * 24 + [row] * 25 + [gate] + [CLOSED] * 24
    given = {"kernel": 0, "column_on": 0b11111, "row_on": 0b1111, "read": 0b101 if mode & ~REST == READ else 0}
    return Pattern(**{**given, "mode": mode, "clocks": clocks, "codes": codes, **other})


def text(*patterns):
    return packed.pack(b"".join(packed.RECORD.pack(*p[:6], *p.codes) for p in patterns))


def take(service, **claim):
    return service.handle(f"TAKE {json.dumps({**CLAIM, **claim})}").removeprefix("TAKEN ")


def state(service):
    return json.loads(service.handle("STATE?").removeprefix("STATE "))


# -- what it asks of Python


def test_the_server_is_python_3_8_and_imports_the_standard_library_and_itself():
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names, path


@pytest.mark.parametrize("python", [sys.executable, "python3.8"])
def test_a_copy_of_the_folder_runs_by_itself(tmp_path, python):
    program = shutil.which(python)
    if program is None or subprocess.run([program, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no {python} here")
    shutil.copytree(FOLDER, tmp_path / "daffodil", ignore=shutil.ignore_patterns("__pycache__"))
    use = "import daffodil.__main__, json, daffodil.settings as s; print(json.dumps(s.Settings()._asdict()))"
    done = subprocess.run([program, "-S", "-E", "-c", use], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["reference"] == REST_CODE
    done = subprocess.run(
        [program, "-S", "-E", "-m", "daffodil", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "--serial" in done.stdout


def test_patterns_travel_as_the_driver_packs_them():
    assert DTYPE.itemsize == packed.RECORD.size
    records = np.zeros(3, DTYPE)
    records["kernel"], records["clocks"], records["read"] = [1, 2, 3], [7, 1 << 31, 9], 1 << 24
    records["gate"][:, 24] = [5, 6, packed.KEEP]
    back = packed.patterns_of(packed.pack(records.tobytes()))
    assert [(p.kernel, p.clocks, p.read, p.codes[74]) for p in back] == [
        (1, 7, 1 << 24, 5),
        (2, 1 << 31, 1 << 24, 6),
        (3, 9, 1 << 24, packed.KEEP),
    ]


@pytest.mark.parametrize("damage", ["", "%", "AAAA", packed.pack(b"x" * 167), packed.pack(b"x" * 168)[:-8]])
def test_damaged_patterns_are_refused(damage):
    with pytest.raises(ValueError, match=r"damaged|whole"):
        packed.patterns_of(damage + ("" if damage else "="))


def test_more_than_the_most_is_refused_without_unpacking_it():
    with pytest.raises(ValueError, match="more than"):
        packed.unpack(packed.pack(bytes(10_000_000)), 1000)


# -- the board


def test_initialised_the_board_is_at_rest_and_enables_act_in_events_only(engine, board):
    assert engine.state() == {}
    lines = ((1 << 25) - 1) << reg.COLUMN | ((1 << 25) - 1) << reg.ROW
    for bank in (reg.PULSE_MODE, reg.POLARITY):
        assert sum(board.read(bank + 4 * word) << 32 * word for word in range(3)) == lines
    assert board.data & lines == 0
    assert {board.output(*reg.column_dac(i)) for i in range(25)} == {2.5}
    assert board.output(*reg.REFERENCE) == 2.5
    assert max(board.output(*reg.gate_dac(i)) for i in range(25)) < 1.701


def test_registers_of_another_version_are_not_touched(board):
    board.words[reg.ABI] = 0x12340002
    before = dict(board.words)
    with pytest.raises(Fault, match="0x12340002"):
        Engine(board).initialise()
    assert board.words == before


def test_a_read_has_the_codes_of_the_rows_asked_for_and_the_board_rests_after_it(engine, board):
    codes, late = engine.run([pattern()])
    volts = (2130 - REST_CODE) * 5.0 / 4096
    conductance = board.chip.nominal.g_ap(0)
    feedback = 100.0 + (100e3 - 100.0) * 11 / 255
    expected = round((2.5 - volts * conductance * feedback) * 4096 / 5.0)
    assert codes == [expected] * 2
    assert late == []
    assert engine.state() == {}


def test_an_event_that_is_too_short_for_its_conversions_is_late(engine):
    codes, late = engine.run([pattern(), pattern(clocks=100)])
    assert len(codes) == 4
    assert late == [1]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"column": 1300}, "code beyond"),
        ({"mode": WRITE, "row": 1392}, "code beyond"),
        ({"gate": 1200}, "gate has a code"),
        ({"gate": 4096}, "gate has a code"),
        ({"clocks": 0}, "no clock"),
        ({"mode": 3}, "mode"),
        ({"kernel": 32}, "kernel 32"),
        ({"read": 0b10000}, "not connected"),
        ({"column_on": 1 << 25}, "must not be"),
        ({"mode": WRITE, "column": packed.KEEP}, "code beyond"),
    ],
)
def test_a_pattern_that_must_not_be_is_refused_before_any_is_done(engine, board, wrong, why):
    events = board.audit.events
    with pytest.raises(Refused, match=f"pattern 1: .*{why}"):
        engine.run([pattern(), pattern(**wrong)])
    assert board.audit.events == events


def test_what_is_beyond_the_limits_of_the_bench_is_refused_by_the_board_in_every_mode(engine):
    engine.set_up(engine.settings._replace(up=300, down=200, columns=0b11111, rows=0b1111))
    for mode in (READ, WRITE):
        engine.run([pattern(mode, column=REST_CODE + 300), pattern(mode, column=REST_CODE - 200)])
        for column in (REST_CODE + 301, REST_CODE - 201):
            with pytest.raises(Refused, match=r"above and .* below rows; the most are 300 and 200"):
                engine.run([pattern(mode, column=column)])
        with pytest.raises(Refused, match="above and"):
            engine.run([pattern(mode, column=REST_CODE + 201, row_on=0b0111)])  # a row floats
    engine.run([pattern(WRITE, column=2200, row=REST_CODE - 148)])
    with pytest.raises(Refused, match="columns 301 codes above"):
        engine.run([pattern(WRITE, column=2200, row=REST_CODE - 149)])
    engine.set_up(engine.settings._replace(top_gate=3000))
    engine.run([pattern(gate=3000)])
    with pytest.raises(Refused, match="gate has a code"):
        engine.run([pattern(gate=3001)])


def test_a_batch_that_is_aborted_ends_at_rest(engine, board):
    wait = board.wait

    def abort(seconds):
        engine.abort = board.audit.reads == 3
        wait(seconds)

    board.wait = abort
    with pytest.raises(Aborted, match="2 of 9"):
        engine.run([pattern()] * 9)
    board.wait = wait
    assert board.audit.reads == 3
    assert engine.state() == {}


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (("dac", 2, 3, "calibscale"), r"calibscale of DAC \(2, 3\) was set to 4094, and reads 7"),
        (("dac", 1, 9, "calibbias"), r"calibbias of DAC \(1, 9\) was set to 0, and reads 7"),
        (("dac", 1, 9, "raw"), "the reference was set to 2048, and reads 7"),
        (("pot", 1, 2), "potentiometer of row 6 was set to 11, and reads 7"),
    ],
)
def test_a_setting_that_a_converter_does_not_keep_is_named(engine, board, device, why):
    kind, *place = device
    read = getattr(board, f"read_{kind}")
    setattr(board, f"read_{kind}", lambda *at, **name: 7 if [*at, *name.values()] == place else read(*at, **name))
    with pytest.raises(Fault, match=why):
        engine.set_up(engine.settings)


def test_a_line_that_cannot_be_brought_to_rest_is_named(engine, board):
    put = board.write_dac
    board.write_dac = lambda dac, channel, name, value: (dac, channel) == (2, 3) or put(dac, channel, name, value)
    board._dac[2, 3]["raw"] = 3000
    with pytest.raises(Fault, match="column3 at code 3000"):
        engine.safe()


@pytest.mark.skipif(sys.platform == "win32", reason="the board's files are those of Linux")
def test_over_files_and_mapped_registers_the_board_does_the_same(board, engine, tmp_path):
    direct = engine.run([pattern(), pattern(WRITE, column=2900), pattern()])
    words, out = dict(board.words), dict(board.out)
    board.power_off()
    board.chip.pulse  # noqa: B018 - the cells stay as they are
    hardware = MappedHardware(BoardFiles(board, tmp_path / "sys"), tmp_path / "memory")
    mapped = Engine(hardware)
    mapped.initialise()
    again = mapped.run([pattern(), pattern(), pattern()])
    hardware.close()
    assert again[0][:2] == direct[0][2:]
    assert board.words == words
    assert board.out == out


def test_released_the_chip_has_no_power_and_setting_up_brings_the_board_back(engine, board):
    before = engine.run([pattern(), pattern()])
    words, out = dict(board.words), dict(board.out)
    events = board.audit.events
    engine.release()
    assert board.data == 0
    assert board.audit.events == events + 1  # the rest before power is taken away
    assert engine.released
    assert engine.state() == {}
    engine.safe()
    assert board.audit.events == events + 1
    assert board.audit.refused == []
    engine.set_up(engine.settings)
    assert not engine.released
    assert (board.words, board.out) == (words, out)
    assert engine.run([pattern(), pattern()])[0] == before[0]


def test_power_that_comes_back_by_itself_is_no_release(engine, board):
    engine.release()
    board.write(reg.DATA, 0b111)
    assert not engine.released
    with pytest.raises(Fault, match="powers or converters are not as they were initialised"):
        engine.set_up(engine.settings)


# -- the conversation


def test_a_chip_is_exchanged_without_power_and_nothing_runs_before_it_is_set_up_again(service, board):
    token = take(service)
    assert service.handle(f"RELEASE {token}") == "RELEASED"
    assert service.handle(f"RUN {token} {text(pattern())}").startswith("ERROR refused: the chip is without power")
    board.put(chip(2, 5, 4, seed=9, ideal=True))
    assert board.world.ledger.events == []
    assert service.handle("SAFE") == 'SAFE {"met": {}}'
    assert state(service) == {"holder": "", "live": {}, "silenced": 0}
    assert service.handle(f"RELEASE {token}").startswith("ERROR safed")
    token = take(service)
    assert service.handle(f"SET {token} {{}}").startswith("SET ")
    assert service.handle(f"RUN {token} {text(pattern())}").startswith("CODES ")
    board.put(chip(2, 5, 4, seed=10, ideal=True))
    assert [event.what for event in board.world.ledger.events] == ["hot exchange"]


def test_the_identity_ends_with_the_version(service):
    assert service.handle("*IDN?") == f"mtj-labctl,daffodil,17,{packed.VERSION}"


@pytest.mark.parametrize("version", [None, packed.VERSION + 1, "1"])
def test_a_client_of_another_version_is_refused(service, version):
    answer = service.handle(f"TAKE {json.dumps({**CLAIM, 'version': version})}")
    assert answer.startswith("ERROR version: the board speaks")
    assert state(service)["holder"] == ""


def test_one_client_has_the_board(service):
    token = take(service)
    assert state(service)["holder"] == "bench"
    assert service.handle(f"TAKE {json.dumps(CLAIM)}") == "ERROR lease: client 'bench' has the board"
    assert service.handle(f"RUN other {text(pattern())}").startswith("ERROR lease: the board is not yours")
    assert service.handle(f"END {token}") == "ENDED"
    assert take(service) != token


def test_a_client_that_is_silent_loses_the_board_which_is_then_at_rest(service, board):
    token = take(service)
    board.wait(4.0)
    assert service.handle(f"RUN {token} {text(pattern())}").startswith("CODES ")
    board.write_dac(2, 3, "raw", 3000)  # as by a program beside the server
    board.wait(5.1)
    service.watch()
    now = state(service)
    assert now == {"holder": "", "live": {}, "silenced": 1}
    events = board.audit.events
    assert service.handle(f"RUN {token} {text(pattern())}").startswith("ERROR lease")
    assert board.audit.events == events


def test_safe_needs_no_lease_and_no_version_and_tells_what_it_met(service, board):
    token = take(service)
    board.write_dac(2, 3, "raw", 3000)
    board.write_dac(4, 1, "raw", 3500)
    assert json.loads(service.handle("SAFE").removeprefix("SAFE ")) == {"met": {"column3": 3000, "gate1": 3500}}
    assert json.loads(service.handle("SAFE").removeprefix("SAFE ")) == {"met": {}}
    assert service.handle(f"RUN {token} {text(pattern())}").startswith("ERROR safed")


def test_safe_of_another_connection_ends_the_batch_that_runs(service, board):
    token = take(service)
    wait, answers = board.wait, []
    safe = threading.Thread(target=lambda: answers.append(service.handle("SAFE")))

    def stopped(seconds):
        if board.audit.reads == 2 and not safe.ident:
            safe.start()
            while not service._engine.abort:
                pass
        wait(seconds)

    board.wait = stopped
    answer = service.handle(f"RUN {token} {text(*[pattern()] * 50)}")
    safe.join()
    assert answer.startswith("ERROR aborted: after 1 of 50")
    assert answers == ['SAFE {"met": {}}']
    assert board.audit.reads == 2


def test_a_batch_longer_than_the_lease_is_refused(service, board):
    token = take(service, lease=1.0)
    events = board.audit.events
    answer = service.handle(f"RUN {token} {text(*[pattern(clocks=5_000_000)] * 5)}")
    assert answer == "ERROR refused: a batch of 1.17 s, and a lease of 1 s"
    assert board.audit.events == events


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference": 4096},
        {"reference": 2048.0},
        {"clock": 0.0},
        {"pots": [11] * 24},
        {"pots": [256] * 25},
        {"swapped": 1},
        {"top_gate": True},
        {"unknown": 1},
        {"rows": -1},
    ],
)
def test_settings_that_are_wrong_are_refused_and_change_nothing(service, engine, wrong):
    token, before = take(service), engine.settings
    assert service.handle(f"SET {token} {json.dumps(wrong)}").startswith("ERROR refused: setting ")
    assert engine.settings == before


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("#17 STATE?", '#17 STATE {"holder": "", "live": {}, "silenced": 0}'),
        ("#3 SAFE", '#3 SAFE {"met": {}}'),
        ("#4 FIRE", "#4 ERROR syntax: 'FIRE' is not known"),
        ("#x STATE?", "ERROR syntax: '#x' is not known"),
        ("#17", "ERROR syntax: '#17' is not known"),
    ],
)
def test_an_answer_has_the_number_of_its_message(service, line, answer):
    assert service.handle(line) == answer


@pytest.mark.parametrize("line", ["", "FIRE", "TAKE", "TAKE []", "RUN", "SET t1 {", "SAFE?", "\x00\xff"])
def test_whatever_is_said_is_answered_and_drives_nothing(service, board, line):
    events = board.audit.events
    assert service.handle(line).startswith("ERROR ")
    assert board.audit.events == events


def test_a_fault_in_a_batch_ends_at_rest_and_without_a_client(service, board):
    token, put = take(service), board.write_dac
    board.write_dac = lambda dac, channel, name, value: (
        (_ for _ in ()).throw(OSError("no such device")) if value == 2130 else put(dac, channel, name, value)
    )
    answer = service.handle(f"RUN {token} {text(pattern())}")
    assert answer == "ERROR fault: no such device; the board is at rest, verified"
    assert state(service) == {"holder": "", "live": {}, "silenced": 0}


# -- over TCP


def ask(connection, line):
    connection.sendall(line.encode() + b"\n")
    return connection.makefile("rb").readline().decode().rstrip("\n")


def test_over_tcp_a_silent_client_is_noticed_without_any_message(service, board):
    with Server("127.0.0.1", 0, service) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with socket.create_connection(server.server_address[:2], timeout=PATIENCE) as connection:
            token = ask(connection, f"TAKE {json.dumps(CLAIM)}").removeprefix("TAKEN ")
            assert ask(connection, f"RUN {token} {text(pattern())}").startswith("CODES ")
            board.write_dac(0, 3, "raw", 3000)
            rested, safe = threading.Event(), service._engine.safe
            service._engine.safe = lambda: (safe(), rested.set())
            board.wait(6.0)
            assert rested.wait(PATIENCE), "the lease ran out, and nothing was made safe"
            assert json.loads(ask(connection, "STATE?")[6:]) == {"holder": "", "live": {}, "silenced": 1}
        server.shutdown()
        thread.join(PATIENCE)


def test_a_board_that_does_not_come_to_rest_is_not_served(board, capsys):
    board.words[reg.ABI] = 0
    assert main(["--serial", "1"], board) == 1
    assert "NOT at rest" in capsys.readouterr().err


SERVER = """
import sys
import numpy as np
from labctl.boards.daffodil.__main__ import main
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.emulators.daffodil_analog import Analog
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.world import Cables, World

shape = {"kind": "1T1R", "kernels": 1, "n_rows": 2, "n_cols": 2}
description = {"name": "c", "geometry": shape, "junction": {"diameter": 80e-9}}
chip = ChipDie(DieDescription.model_validate(description), seed=1, name="c")
analog = Analog(np.array([(100.0, 1e5)] * 25), (0, 255), np.ones(25), np.zeros(25))
board = EmulatedBoard(chip, analog, World(Cables({}, {}), lambda x, y, site: None))
print("events", board.audit.events)
sys.exit(main(["--serial", "9", "--port", "0"], board))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="TERM ends a process there at once")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_ended_leaves_the_board_at_rest_and_says_so(number):
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "events 0\n"
    port = int(process.stdout.readline().rsplit(" ", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        assert ask(connection, "*IDN?") == f"mtj-labctl,daffodil,9,{packed.VERSION}"
        assert ask(connection, f"TAKE {json.dumps(CLAIM)}").startswith("TAKEN ")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert rest == 'daffodil: SAFE {"met": {}}\n'


# -- whoever has it made safe has it safe


def test_nothing_begins_between_safe_and_its_turn(service, board):
    """Two have it made safe at once: the first that is done does not have the second one's word forgotten."""
    engine, safe, aborts = service._engine, service._engine.safe, []
    second = threading.Thread(target=lambda: service.handle("SAFE"))

    def slowly():
        second.start()
        while service._stops < 2:
            pass
        safe()

    engine.safe = slowly

    class Lock:
        """Tells whether a batch could begin whenever the lock is free."""

        def __init__(self, lock):
            self._lock = lock

        def __enter__(self):
            self._lock.acquire()

        def __exit__(self, *_):
            if service._stops > 1:
                aborts.append(engine.abort)
            engine.safe = safe
            self._lock.release()

    service._lock = Lock(service._lock)
    assert service.handle("SAFE") == 'SAFE {"met": {}}'
    second.join()
    assert aborts == [True]
    assert engine.abort is False


def test_safe_ends_an_event_that_is_long(service, board):
    token = take(service)
    wait, answers = board.wait, []
    safe = threading.Thread(target=lambda: answers.append(service.handle("SAFE")))

    def slept(seconds):
        if board.audit.events and board.read(reg.PULSE_LENGTH) == 60_000_000 and not safe.ident:
            safe.start()
            while not service._engine.abort:
                pass
        wait(seconds)

    board.wait = slept
    begin = board.now()
    answer = service.handle(f"RUN {token} {text(pattern(WRITE, clocks=60_000_000))}")
    safe.join()
    assert answer == "ERROR aborted: after 0 of 1 patterns"
    assert board.now() - begin < 0.5
    assert answers == ['SAFE {"met": {}}']


def test_a_client_under_whose_hands_it_was_made_safe_is_not_told_of_silence(service, board):
    token = take(service)
    service.handle("SAFE")
    service.handle("SAFE")
    events = board.audit.events
    for line in (f"RUN {token} {text(pattern())}", f"SET {token} {{}}", f"END {token}"):
        assert service.handle(line).startswith("ERROR safed: somebody had the board made safe")
    assert board.audit.events == events
    assert take(service)


def test_a_server_that_ends_is_taken_by_nobody(service):
    token = take(service)
    assert service.end() == 'SAFE {"met": {}}'
    assert service.handle(f"RUN {token} {text(pattern())}").startswith("ERROR safed")
    assert service.handle(f"TAKE {json.dumps(CLAIM)}") == "ERROR refused: the server ends"


@pytest.mark.parametrize("error", [IndexError("no number"), ValueError("no number"), TypeError("no number")])
def test_an_error_of_any_type_in_a_batch_is_answered_and_ends_at_rest(service, board, error):
    token, reading = take(service), board.read_adc

    def failing(adc, channel):
        raise error

    board.read_adc = failing
    answer = service.handle(f"RUN {token} {text(pattern())}")
    assert answer == f"ERROR fault: {type(error).__name__}: no number; the board is at rest, verified"
    board.read_adc = reading
    assert state(service) == {"holder": "", "live": {}, "silenced": 0}


def test_an_error_of_any_type_does_not_end_the_watch(service, board):
    take(service)
    board.wait(6.0)
    read_dac = board.read_dac

    def failing(*_, **__):
        raise IndexError("no number")

    board.read_dac = failing
    service.watch()
    board.read_dac = read_dac
    assert state(service) == {"holder": "", "live": {}, "silenced": 1}


def test_json_that_is_too_deep_is_answered(service):
    assert service.handle("TAKE " + "[" * 100_000).startswith("ERROR syntax")


def test_a_code_whose_write_failed_is_not_taken_for_written(engine, board):
    """The DAC took the code and its driver told of an error: rest writes that of rest all the same."""
    put = board.write_dac

    def failing(dac, channel, name, value):
        put(dac, channel, name, value)
        if value == OPEN:
            raise OSError("no reply")

    board.write_dac = failing
    with pytest.raises(OSError, match="no reply"):
        engine.run([pattern()])
    assert engine.state() == {}


def test_a_code_that_no_converter_has_is_refused_on_any_line(engine, board):
    events, codes = board.audit.events, list(pattern().codes)
    codes[24] = reg.TOP_CODE + 1  # of a column that is not connected
    with pytest.raises(Refused, match="pattern 0: a line has a code beyond 0 to 4095"):
        engine.run([pattern()._replace(codes=codes)])
    assert board.audit.events == events


@pytest.mark.parametrize(
    ("wrong", "why"), [({"reads": "writes"}, "a read of one row"), ({"cut": [float("nan")]}, "no number")]
)
def test_a_write_verify_that_could_not_judge_its_cells_is_refused(service, board, wrong, why):
    token, events = take(service), board.audit.events
    written = text(pattern(WRITE, row=2000, read=1))
    program = {
        "writes": [written], "reads": text(pattern(read=1)), "rungs": [0], "budget": [1], "target": [1],
        "cut": [2000.0], "low": [1.0], "high": [4000.0],
    }  # fmt: skip
    assert service.handle(f"WRITE {token} {json.dumps(program)}").startswith("ATTEMPTS ")
    events = board.audit.events
    changed = {**program, **{key: written if value == "writes" else value for key, value in wrong.items()}}
    answer = service.handle(f"WRITE {token} {json.dumps(changed)}")
    assert answer.startswith("ERROR refused: ")
    assert why in answer
    assert board.audit.events == events


@pytest.mark.parametrize("verb", ["RUN", "WRITE"])
def test_what_was_read_while_the_board_lost_its_power_is_no_reading(service, board, verb):
    token, reading = take(service), board.read_adc
    program = {
        "writes": [text(pattern(WRITE, row=2000))], "reads": text(pattern(read=1)), "rungs": [0], "budget": [1],
        "target": [1], "cut": [2000.0], "low": [1.0], "high": [4000.0],
    }  # fmt: skip
    body = text(pattern()) if verb == "RUN" else json.dumps(program)

    def failing(adc, channel):
        board.power_off()
        return reading(adc, channel)

    board.read_adc = failing
    assert service.handle(f"{verb} {token} {body}").startswith("ERROR fault: register 0x")
    board.read_adc = reading
    token = take(service)
    assert "start its server again" in service.handle(f"SET {token} {{}}")


def test_a_board_without_the_powers_of_its_initialisation_is_not_set_up(engine, board):
    board.write(reg.DATA, board.read(reg.DATA) & ~1)
    with pytest.raises(Fault, match="start the server again"):
        engine.set_up(engine.settings)


@pytest.mark.parametrize(
    "defects",
    [
        Defects(saturated={2: 0.0}),
        Defects(saturated={2: 3.3}),
        Defects(dead={0: 0}),
        Defects(dead={0: reg.TOP_CODE}),
        Defects(unsupplied=True),
    ],
)
def test_what_was_read_while_an_amplifier_or_its_converter_was_dead_is_no_reading(engine, board, defects):
    engine.run([pattern()])
    board.defects = defects
    with pytest.raises(Fault, match=r"the amplifier of row [02] reads code \d+ at rest, and 2048 when"):
        engine.run([pattern()])
    board.defects = Defects()
    assert len(engine.run([pattern()])[0]) == 2


@pytest.mark.parametrize(
    ("place", "mode"),
    [(reg.column_dac(0), READ), (reg.gate_dac(0), READ), (reg.row_dac(3), WRITE), (reg.column_dac(0), WRITE)],
)
def test_a_line_that_takes_no_code_is_named_before_it_is_connected(engine, board, place, mode):
    driven = pattern(mode, row=1900)
    engine.run([driven])
    board.defects = Defects(stuck=frozenset({place}))
    reads, seen = board.audit.reads, board.audit.towards_p
    board.audit.towards_p = 0.0
    with pytest.raises(
        Fault, match=rf"DAC \({place[0]}, {place[1]}\) was set to \d+, and reads \d+: its line is stuck"
    ):
        engine.run([driven])
    assert board.audit.reads == reads
    assert board.audit.towards_p < seen
    assert engine.state() == {}
    engine.run([pattern(mode, column=REST_CODE, row=REST_CODE, gate=CLOSED)])


@pytest.mark.parametrize(("name", "value"), [("calibbias", 682), ("calibscale", 2000)])
@pytest.mark.parametrize("place", [reg.column_dac(1), reg.row_dac(20), reg.gate_dac(3), reg.REFERENCE])
def test_safe_is_so_whatever_gains_and_offsets_of_converters_were_left(engine, board, place, name, value):
    rest = board.output(*place)
    board.write_dac(*place, name=name, value=value)
    engine.safe()
    assert board.output(*place) == rest


def test_a_line_that_is_stuck_away_from_rest_is_told_behind_the_batch(engine, board):
    event = board._event

    def stuck_from_now_on():
        board.defects = Defects(stuck=frozenset({reg.column_dac(0)}))
        event()

    board._event = stuck_from_now_on
    with pytest.raises(Fault, match="not at rest: column0 at code 2130"):
        engine.run([pattern()])
