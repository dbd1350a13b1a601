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
        "slot1",
        "allslots",
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


def test_lists_have_commas_or_semicolons_and_slots_open_but_do_not_close() -> None:
    matrix = make()
    assert ask(matrix, "channel.close('1A01; 2B02,1C03') print(channel.getclose('allslots'))") == "1A01;1C03;2B02"
    assert ask(matrix, "channel.open('allslots') print(channel.getclose('allslots'))") == "nil"


def test_a_delay_follows_the_settling_of_what_closes_and_of_nothing_that_opens() -> None:
    matrix = make()
    timing = matrix.world.timing
    assert ask(matrix, "print(channel.getdelay('1A07,1B05'))") == "0.000000000e+00,0.000000000e+00"
    ask(matrix, "channel.setdelay('1A03,1A05', 50e-6) channel.setdelay('slot2', 3)")
    assert ask(matrix, "print(channel.getdelay('1A05,1A06,2D12'))").split(",")[::2] == [
        "5.000000000e-05",
        "3.000000000e+00",
    ]
    begin = matrix.world.now
    ask(matrix, "channel.close('1A03,2A01,1A01')")
    assert matrix.world.now - begin == pytest.approx(timing.message + timing.relay + 3 + 50e-6)
    begin = matrix.world.now
    ask(matrix, "channel.open('allslots')")
    assert matrix.world.now - begin == pytest.approx(timing.message + timing.relay)
    ask(matrix, "channel.pattern.setimage('1A01', 'one') channel.setdelay('one', 1)")
    assert error(matrix) == 1115
    ask(matrix, "channel.setdelay('1A01', -1) channel.setdelay('1A01', 1/0)")
    assert [error(matrix), error(matrix), error(matrix)] == [1102, 1101, 0]


def test_a_forbidden_channel_refuses_the_whole_command_and_deletes_its_patterns() -> None:
    matrix = make()
    ask(matrix, "channel.pattern.setimage('1A01:1A03', 'one') channel.pattern.setimage('1B01', 'other')")
    ask(matrix, "channel.setforbidden('1A02,2B01')")
    assert ask(matrix, "print(channel.getforbidden('allslots'), channel.getforbidden('slot1'))") == "1A02,2B01\t1A02"
    assert ask(matrix, "for name in channel.pattern.catalog() do print(name) end") == "other"
    for command in ("close('1A01,1A02')", "exclusiveclose('1A02')", "exclusiveslotclose('2B01')"):
        ask(matrix, f"channel.{command}")
        assert error(matrix) == 1115
    assert matrix.closed == set()
    ask(matrix, "channel.clearforbidden('slot1') channel.close('1A01,1A02')")
    assert matrix.closed == {"1A01", "1A02"}
    assert ask(matrix, "channel.clearforbidden('allslots') print(channel.getforbidden('allslots'))") == "nil"


def test_labels_and_patterns_name_channels_wherever_a_list_does() -> None:
    matrix = make()
    ask(
        matrix,
        "channel.setlabel('1A01', 'start') channel.setlabelrow('1B01', 'SMU2') channel.setlabelcolumn('1B02', 'DUT2')",
    )
    ask(matrix, "channel.pattern.setimage('2A01:2A03', 'bus')")
    assert ask(matrix, "print(channel.getlabel('1A01,1A02'))") == "start,1A02"
    assert ask(matrix, "print(channel.getimage('start,SMU2+DUT2,1A02'))") == "1A01;1B02;1A02"
    ask(matrix, "channel.close('start,SMU2+DUT2,bus')")
    assert matrix.closed == {"1A01", "1B02", "2A01", "2A02", "2A03"}
    ask(matrix, "channel.pattern.snapshot('all') channel.open('allslots')")
    image = "1A01,1B02,2A01,2A02,2A03"
    assert ask(matrix, "print(channel.pattern.getimage('all, bus'))") == f"{image};2A01,2A02,2A03"
    for refused in (
        "setlabel('1A02', 'start')", "setlabel('1A02', 'bus')", "setlabel('1A02', 'a b')", "setlabel('1A01:1A02', 'x')",
        "pattern.setimage('1A01', 'start')", "pattern.setimage('1A01', '1x')", "pattern.getimage('none')",
        "pattern.delete('none')",
    ):  # fmt: skip
        ask(matrix, f"channel.{refused}")
        assert error(matrix) == 1115, refused
    ask(matrix, "channel.setlabel('1A01', ' ') channel.pattern.delete('bus')")
    ask(matrix, "channel.close('start')")
    assert error(matrix) == 1115


@pytest.mark.parametrize("reset", ["*RST", "channel.reset('allslots')"])
def test_a_reset_ends_what_was_set_of_channels(reset: str) -> None:
    matrix = make()
    ask(matrix, "channel.setdelay('slot1', 3.1) channel.pattern.setimage('1A01', 'one') channel.setlabel('1A02', 'x')")
    ask(matrix, "channel.setlabelrow('1B01', 'r') channel.setlabelcolumn('1B01', 'c') channel.setforbidden('1A03')")
    ask(matrix, reset)
    assert set(ask(matrix, "print(channel.getdelay('allslots'))").split(",")) == {"0.000000000e+00"}
    assert ask(matrix, "print(channel.getforbidden('allslots'), channel.getlabel('1A02'))") == "nil\t1A02"
    assert ask(matrix, "for name in channel.pattern.catalog() do print(name) end") == ""
    ask(matrix, "channel.close('r+c')")
    assert error(matrix) == 1115


def test_a_scan_moves_relays_by_itself_until_it_is_done_or_aborted() -> None:
    matrix = make()
    ask(matrix, "channel.close('2D01') scan.create('1A05, 1B05') scan.add('1C05') scan.scancount = 2")
    listed = "Init) OPEN...|1) STEP: 1A05|CLOSE: 1A05|2) STEP: 1B05|OPEN: 1A05|CLOSE: 1B05"
    listed += "|3) STEP: 1C05|OPEN: 1B05|CLOSE: 1C05"
    assert ask(matrix, "print(scan.list())").replace("\n", "|") == listed
    assert ask(matrix, "print(scan.state())") == "1.00000e+00\t0.00000e+00\t0.00000e+00"
    ask(matrix, "scan.background()")
    assert matrix.closed == set()
    seen = [ask(matrix, "print(channel.getclose('allslots'), scan.state())").split("\t")[:2] for _ in range(7)]
    assert [closed for closed, _ in seen] == ["1A05", "1B05", "1C05", "1A05", "1B05", "1C05", "1C05"]
    assert [float(state) for _, state in seen] == [2, 2, 2, 2, 2, 6, 6]
    ask(matrix, "scan.background()")
    ask(matrix, "scan.abort()")
    assert ask(matrix, "print((scan.state()))") == "3.00000e+00"
    ask(matrix, "scan.execute()")
    assert matrix.closed == {"1C05"}


def test_a_scan_waits_for_its_event_and_leaves_other_relays_if_it_is_told_to() -> None:
    matrix = make()
    ask(matrix, "channel.close('2D01') scan.create('1A05, 1B05') scan.trigger.channel.stimulus = 40 scan.bypass = 0")
    ask(matrix, "scan.mode = scan.MODE_OPEN_SELECTIVE scan.background()")
    ask(matrix, "print(1)")
    assert matrix.closed == {"2D01"}
    ask(matrix, "*TRG")
    assert matrix.closed == {"2D01", "1A05"}
    ask(matrix, "*TRG")
    assert matrix.closed == {"2D01", "1B05"}
    ask(matrix, "*TRG")
    assert ask(matrix, "print((scan.state()))") == "6.00000e+00"
    ask(matrix, "scan.execute()")
    assert error(matrix) == -286
    ask(matrix, "*RST")
    assert ask(matrix, "print(scan.stepcount, (scan.state()))") == "0.00000e+00\t0.00000e+00"


def test_a_card_of_no_hardware_connects_nothing() -> None:
    matrix = make()
    matrix.pseudocards.add(1)
    assert "Pseudo 8x12" in ask(matrix, "print(slot[1].idn)")
    ask(matrix, "channel.close('1A01,2A01')")
    assert matrix.closed == {"1A01", "2A01"}
    assert matrix.world.closed == {("matrix.A", "matrix.2-01")}


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
