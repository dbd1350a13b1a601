"""The emulated 707B: addresses, lists, rules, refusals, relay time and what hot switching leaves in the ledger."""

import numpy as np
import pytest

from labctl.core.errors import BenchError
from sim_backend.emulators.k707 import K707
from sim_backend.emulators.nets import Drive
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.world import Cables, World


def make(cards: dict[int, str] | None = None, model: str = "707B") -> K707:
    lines = {
        (0, "row", 0): "matrix.1-01",
        (0, "row", 1): "matrix.1-02",
        (0, "col", 0): "matrix.2-01",
        (0, "col", 1): "matrix.2-02",
        (0, "col", 2): "matrix.2-03",
    }
    world = World(Cables({"smu.smua": "matrix.A"}, lines, ("matrix.B",)), ResistorBox(np.full((1, 2, 3), 1e-4)))
    return K707("matrix", model, world, cards=cards or {1: "7174A", 2: "7173-50"})


def ask(matrix: K707, text: str) -> str:
    return matrix.handle(text.encode() + b"\n").decode().rstrip("\n")


def error(matrix: K707) -> int:
    return int(float(ask(matrix, "print(errorqueue.next())").split("\t")[0]))


def test_close_open_and_read_back() -> None:
    matrix = make()
    assert ask(matrix, "*IDN?") == "Keithley Instruments Inc., Model 707B, 4000001, 3.2.2"
    assert ask(matrix, "print(channel.getclose('allslots'))") == "nil"
    assert ask(matrix, "channel.close('1A01, 2b02') print(channel.getclose('allslots'))") == "1A01;2B02"
    assert ask(matrix, "print(channel.getstate('1A01'), channel.getstate('1A01,1A02'))") == "1\t1,0"
    assert ask(matrix, "channel.close('1A01') print(channel.getclose('slot1'))") == "1A01"
    assert matrix.world.closed == {("matrix.A", "matrix.1-01"), ("matrix.B", "matrix.2-02")}
    assert ask(matrix, "beeper.enable = 1 beeper.beep(0.1, 440) print(beeper.enable)") == "1.00000e+00"
    assert ask(matrix, "channel.open('1A01') print(channel.getclose('slot1'))") == "nil"
    assert ask(matrix, "channel.close('1A03:1A06') print(channel.getclose('1A01:1A12'))") == "1A03;1A04;1A05;1A06"
    ask(matrix, "channel.open('slot1')")
    assert ask(matrix, "print(channel.getclose('allslots'))") == "2B02"
    ask(matrix, "*RST")
    assert matrix.world.closed == frozenset()


@pytest.mark.parametrize(
    "name",
    [
        "1A13",
        "1A00",
        "1I01",
        "3A01",
        "2E01",
        "1A1",
        "A01",
        "1A01;1A02",
        "",
        "slot3",
        "1A05:1A02",
        "1A01:2A01",
        "1A01,9A01",
    ],
)
def test_a_bad_address_moves_nothing(name: str) -> None:
    matrix = make()
    ask(matrix, f"channel.close('{name}')")
    assert error(matrix) == 1115
    assert matrix.world.closed == frozenset()
    assert matrix.world.ledger.refused == 1


def test_what_is_no_list_is_refused() -> None:
    matrix = make()
    ask(matrix, "channel.close(101)")
    assert error(matrix) == -104
    ask(matrix, "channel.connectrule = 3")
    assert error(matrix) == 1101


def test_rows_go_through_the_backplane_and_columns_do_not() -> None:
    matrix = make()
    ask(matrix, "channel.close('1A01,2B01,2B02,2B03')")
    matrix.world.drive("smu.smua", Drive(0.1, 1e-3))
    assert matrix.world.observe("smu.smua").amps == pytest.approx(3e-5)


def test_relays_of_a_command_move_together_unless_sequential() -> None:
    matrix = make()
    timing = matrix.world.timing
    begin = matrix.world.now
    ask(matrix, "channel.close('1A01,2B01,2B02')")
    assert matrix.world.now - begin == pytest.approx(timing.message + timing.relay)
    begin = matrix.world.now
    ask(matrix, "channel.close('1A01')")
    assert matrix.world.now - begin == pytest.approx(timing.message)
    begin = matrix.world.now
    ask(matrix, "channel.connectsequential = channel.ON channel.open('allslots')")
    assert matrix.world.now - begin == pytest.approx(timing.message + 3 * timing.relay)
    assert matrix.world.ledger.relay_operations == 6


@pytest.mark.parametrize(("rule", "both"), [("BREAK_BEFORE_MAKE", False), ("MAKE_BEFORE_BREAK", True)])
def test_connect_rule_governs_exclusive_close(rule: str, both: bool) -> None:
    matrix = make()
    seen: list[frozenset[tuple[str, str]]] = []
    move = matrix.world.switch

    def watch(**moved: list[tuple[str, str]]) -> None:
        move(**moved)
        seen.append(matrix.world.closed)

    matrix.world.switch = watch  # type: ignore[method-assign]
    ask(matrix, f"channel.connectrule = channel.{rule} channel.close('1A01')")
    ask(matrix, "channel.exclusiveclose('1A02')")
    assert seen[-1] == {("matrix.A", "matrix.1-02")}
    assert (len(seen[-2]) == 2) is both
    ask(matrix, "channel.close('2B01') channel.exclusiveslotclose('1A03')")
    assert matrix.closed == {"2B01", "1A03"}


def test_switching_under_voltage_is_noted_by_the_world() -> None:
    matrix = make()
    ask(matrix, "channel.close('1A01,2B01')")
    assert matrix.world.ledger.hot_switches == 0
    matrix.world.drive("smu.smua", Drive(0.2, 1e-3))
    ask(matrix, "channel.open('1A01')")
    assert matrix.world.ledger.hot_switches == 1
    assert "opened at 0.2 V" in matrix.world.ledger.events[-1].detail


def test_what_is_not_in_the_frame_is_refused() -> None:
    with pytest.raises(BenchError, match="slot 2 in a 708B"):
        make({2: "7174A"}, "708B")
    with pytest.raises(BenchError, match="no card '7999'"):
        make({1: "7999"})
    with pytest.raises(BenchError, match="no emulated matrix"):
        make(model="7001")
