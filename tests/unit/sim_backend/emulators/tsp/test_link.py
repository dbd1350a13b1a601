"""Instruments on one TSP-Link cable: node numbers, the reach of `node[N]`, master and subordinates."""

import numpy as np
import pytest

from sim_backend.emulators.k707 import K707
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.tsp.instrument import TspInstrument
from sim_backend.emulators.world import Cables, World


def make(nodes: tuple[int, int] | None = (1, 2)) -> tuple[K2600, K707]:
    lines = {(0, "row", 0): "matrix.1-01", (0, "col", 0): "matrix.1-02", (0, "col", 1): "matrix.1-03"}
    world = World(Cables({"smu.smua": "matrix.A"}, lines, ("matrix.B",)), ResistorBox(np.full((1, 1, 2), 1e-4)))
    smu, matrix = K2600("smu", "2602B", world), K707("matrix", "707B", world, cards={1: "7174A"})
    if nodes is not None:
        smu.link.cable(nodes[0], smu)
        matrix.link.cable(nodes[1], matrix)
    return smu, matrix


def ask(instrument: TspInstrument, text: str) -> str:
    return instrument.handle(text.encode() + b"\n").decode().rstrip("\n")


def test_nodes_are_numbered_by_a_reset_of_the_link() -> None:
    smu, _ = make()
    assert ask(smu, "print(tsplink.state, node[2])") == "offline\tnil"
    assert ask(smu, "print(tsplink.reset())") == "2.00000e+00"
    assert ask(smu, "print(tsplink.state, tsplink.node, tsplink.master)") == "online\t1.00000e+00\t1.00000e+00"
    assert ask(smu, "print(node[2].model, node[2].serialno, node[3])") == "707B\t4000001\tnil"
    assert ask(smu, "print(node[1].localnode.model)") == "2602B"


def test_a_node_number_is_in_force_after_the_next_reset() -> None:
    smu, matrix = make()
    ask(smu, "tsplink.reset()")
    ask(matrix, "tsplink.node=7")
    assert ask(smu, "print(node[2].model, node[7])") == "707B\tnil"
    assert ask(smu, "tsplink.initialize(2) print(node[2], node[7].model)") == "nil\t707B"


@pytest.mark.parametrize(("nodes", "code"), [((3, 3), "1210"), (None, "1205")])
def test_a_link_that_is_not_sound_is_offline_and_says_why(nodes: tuple[int, int] | None, code: str) -> None:
    smu, _ = make(nodes)
    assert ask(smu, "print(tsplink.reset(2))") == "1.00000e+00"
    assert ask(smu, "print(tsplink.state)") == "offline"
    assert ask(smu, 'print(string.format("%d", errorqueue.next()))') == code


def test_a_script_of_one_node_moves_the_relays_of_another() -> None:
    smu, matrix = make()
    ask(smu, "tsplink.reset()")
    begin = smu.world.now
    reply = ask(smu, 'node[2].channel.close("1A01,1B02") waitcomplete(0) print(node[2].channel.getclose("allslots"))')
    assert reply == "1A01;1B02"
    assert matrix.closed == {"1A01", "1B02"}
    assert smu.world.now - begin == pytest.approx(smu.world.timing.relay + smu.world.timing.message)
    ask(smu, 'node[2].channel.open("1A09:9Z99")')
    assert ask(smu, 'print(string.format("%d", errorqueue.next()))') == "1115"
    assert matrix.closed == {"1A01", "1B02"}
    assert ask(smu, "print(node[2].channel.connectrule)") == "1.00000e+00"


def test_a_subordinate_is_released_by_an_abort_of_its_master() -> None:
    smu, matrix = make()
    ask(smu, "tsplink.reset()")
    assert ask(matrix, "print(tsplink.master)") == "2.00000e+00"
    ask(smu, 'node[2].channel.open("allslots")')
    assert smu.world.ledger.count("subordinate commanded") == 0
    assert ask(matrix, "print(tsplink.master)") == "1.00000e+00"
    assert smu.world.ledger.count("subordinate commanded") == 1
    ask(smu, "abort")
    assert ask(matrix, "print(tsplink.master)") == "2.00000e+00"
    assert smu.world.ledger.count("subordinate commanded") == 1
