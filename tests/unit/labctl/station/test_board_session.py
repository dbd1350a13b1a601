"""Dies that a person exchanges on a board: asked for without power, compared by what they are called."""

import math
from pathlib import Path

import pytest

from instruments.bench_file import read_bench
from instruments.board_bench import BoardBench, Exchange
from instruments.open_board import OpenBoard
from labctl.core.die_state import State
from labctl.core.errors import BenchError, ContactError, SwitchedOff
from labctl.core.site import Site
from labctl.station.bench_setup import on_bench
from labctl.station.board_session import OnBoard
from sim_backend.description import DieDescription
from tests.small_chip import chip, on_board

EXAMPLES = Path(__file__).parents[4] / "examples"
SHAPE = {"kernels": 2, "n_rows": 5, "n_cols": 4}
LIMITS = {
    "v_towards_p": 1.2,
    "v_towards_ap": 1.2,
    "v_gate": 3.29,
    "width": 0.01,
    "compliance": 5e-3,
    "ramp_rate": 1000.0,
}


def bench(exchange=Exchange.BY_HAND):
    body = {"driver": "daffodil", "resource": "TCPIP::192.0.2.60::5025::SOCKET", **SHAPE}
    return BoardBench.model_validate({"name": "lab", "body": body, "exchange": exchange, "limits": LIMITS})


def site(name):
    description = DieDescription.model_validate(
        {"name": "chip", "geometry": {"kind": "1T1R", **SHAPE}, "junction": {"diameter": 80e-9}}
    )
    return Site(name, description, 3, at=(int(name[-1]), 0))


@pytest.fixture
def socket():
    """A board with a chip in its socket, and who types what for the next one."""

    class Person:
        def __init__(self):
            self.on, self.asked, self.types, self.power = on_board(chip(**SHAPE)), [], [], []

        def type_in(self, question):
            self.asked.append(question)
            self.power.append(self.on.server.board.data & 0b111)
            return self.types.pop(0)

        def body(self, **more):
            opened = OpenBoard(bench(), self.on.board, {"board": self.on.board.connect()})
            return OnBoard(opened, None, type_in=self.type_in, **more)

    return Person()


def test_a_person_is_asked_for_each_die_with_no_power_at_the_socket(socket):
    body, states = socket.body(), []
    socket.types = ["D1", " D2 \n"]
    ready = body.approach(site("D1"), states.append)
    assert ready.notes["die_id"] == {"name": "D1", "by": "typed"}
    assert body.patience == math.inf
    assert states == [State.MOVING]
    assert socket.asked == [
        "Every line is off: put die D1 on the board, and type or scan what stands on it (empty: leave it out)"
    ]
    body.leave()
    assert body.approach(site("D1@2")).notes["die_id"]["by"] == "is on the board"
    assert len(socket.asked) == 1
    body.leave()
    body.approach(site("D2"))
    assert socket.power == [0, 0]


def test_another_die_than_the_run_has_is_asked_for_again_and_then_left_out(socket):
    body = socket.body()
    socket.types = ["D3", "D1", "D2", "D3", "d4"]
    assert body.approach(site("D1")).notes["die_id"]["name"] == "D1"
    assert socket.asked[1].startswith("That is 'D3'. Every line is off: put die D1 ")
    with pytest.raises(ContactError, match=r"^die D4 was asked for, and it says it is 'd4'$"):
        body.approach(site("D4"))
    assert socket.types == []
    socket.types = ["D1"]  # what is on the board is not known any more
    assert body.approach(site("D1")).notes["die_id"]["by"] == "typed"


def test_nobody_who_puts_a_die_there_leaves_it_out(socket):
    socket.types = [""]
    with pytest.raises(ContactError, match="die D1 was asked for, and no die was put on the board"):
        socket.body().approach(site("D1"))
    assert len(socket.asked) == 1


def test_what_a_board_reads_of_a_die_counts_and_not_what_is_typed(socket):
    ids = ["D2", "D1"]
    socket.on.board.die_id = lambda: ids.pop(0)
    socket.types = ["D1", "there"]
    assert socket.body().approach(site("D1")).notes["die_id"] == {"name": "D1", "by": "read by the board"}
    assert socket.asked[1].startswith("That is 'D2'. ")
    assert "type anything when it is there" in socket.asked[0]


def test_a_board_that_may_not_be_energised_reads_no_die(socket):
    def refuse():
        raise SwitchedOff("switched off")

    reads = []
    socket.on.board.die_id = lambda: reads.append(1) or "D1"
    socket.types = ["there"]
    body = socket.body()
    body.opened.permit = refuse
    with pytest.raises(SwitchedOff):
        body.approach(site("D1"))
    assert not reads
    assert len(socket.asked) == 1


def test_by_hand_the_die_that_is_on_the_board_is_used(socket):
    body = socket.body(by_hand=True)
    assert "die_id" not in body.approach(site("D1")).notes
    assert socket.asked == []


@pytest.mark.parametrize("sim", ["bytes", "tcp"])
def test_the_twin_exchanges_its_dies_by_itself_without_power(sim):
    sites = [site("D1"), site("D2")]
    with on_bench(bench(), sites, sim) as body:
        for number in (1, 0, 1):
            ready = body.approach(sites[number])
            assert ready.notes["die_id"]["name"] == sites[number].name
            emulated = body.twin.instruments["board"].board
            assert emulated.chip is body.twin.dies[sites[number].spot]
            assert (ready.truth()["g_p"] == emulated.chip.truth()["g_p"]).all()
            body.opened.board.perform(_read(ready.die))
            body.leave()
        assert body.twin.ledger.events == []


def test_a_board_whose_emulator_has_one_die_exchanges_none():
    path = EXAMPLES / "bench-arc-two.yaml"
    bench = read_bench(path).value.model_copy(update={"exchange": Exchange.BY_HAND})
    description = DieDescription.model_validate(
        {"name": "d", "geometry": {"kernels": 2, "n_rows": 15, "n_cols": 15}, "junction": {"diameter": 80e-9}}
    )
    sites = [Site(f"D{k}", description, 3, at=(k, 0)) for k in range(2)]
    with pytest.raises(BenchError, match="its emulator has one die, and dies are exchanged in this bench"):
        on_bench(bench, sites, "bytes")


def _read(die):
    import numpy as np

    from tests.small_chip import read

    one = np.array([1])
    return read(die, one, one, one)
