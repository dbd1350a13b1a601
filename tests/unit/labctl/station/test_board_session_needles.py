"""Needles between a board and its dies: they move without power, every line is proved, nothing is driven before."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from instruments import mpi_sentio
from instruments.bench_state import IllegalTransition
from instruments.board_bench import BoardBench
from instruments.board_contact import LineShares, judged, line_shares
from instruments.board_needles import BoardNeedles
from instruments.fiducial import fits
from labctl.core.bias import Bias
from labctl.core.body import Marking
from labctl.core.die_state import State
from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import BenchError, ContactError, ContactUnread, InstrumentError, SwitchedOff
from labctl.core.fiducial import Fiducial
from labctl.core.operations import Flag, Sense
from labctl.core.site import Site
from labctl.station.bench_setup import on_bench
from labctl.station.board_session import OnBoard
from labctl.storage.stress_ledger import StressLedger
from sim_backend.description import DieDescription
from tests.small_chip import chip, read

SHAPE = {"kernels": 2, "n_rows": 5, "n_cols": 4}
LIMITS = {
    "v_towards_p": "1.2 V", "v_towards_ap": "1.2 V", "v_gate": "3.29 V", "width": "10 ms", "compliance": "5 mA",
    "ramp_rate": "1000 V/s",
}  # fmt: skip
SENTIO = {"driver": "mpi_sentio", "resource": "2", "overtravel_ceiling": "60 um", "compensation": "0 um"}
ONE = np.array([1])


def bench(prober=SENTIO, driver="daffodil", **more):
    body = more.pop("body", {"driver": driver, "resource": "1", **SHAPE})
    keys = {"name": "lab", "body": body, "prober": prober, "limits": LIMITS, **more}
    return BoardBench.model_validate(keys, context={"file": True})


def sites(number=2, kind="1T1R", shape=SHAPE, **simulation):
    keys = {"name": "chip", "geometry": {"kind": kind, **shape}, "junction": {"diameter": "80 nm"}}
    die = DieDescription.model_validate({**keys, "simulation": simulation}, context={"file": True})
    return [Site(f"D{k}", die, 3, at=(k, 0)) for k in range(number)]


def cell(die):
    return die.perform(read(die, ONE, ONE, ONE)).current[0, 0]


def test_a_line_in_use_without_a_valid_reading_is_not_judged_by_others():
    share, unread = np.array([np.nan, 1, 1, 1, 1, 1, 1, 1, np.nan]), np.arange(9) == 0
    lines = LineShares(share, np.full(9, 1e3), unread, "", 5)
    with pytest.raises(
        InstrumentError, match="prober: the contact check has no valid reading of row 0, so that nobody"
    ):
        judged(bench(), [lines], "prober")
    assert set(judged(bench(), [replace(lines, unread=unread & False)], "prober")) == {"row 1", "column 0"}
    nothing = LineShares(np.full(9, np.nan), np.full(9, 1e3), unread & False, "", 5)
    with pytest.raises(InstrumentError, match="no valid reading of any line"):
        judged(bench(), [nothing], "prober")


NO_VALUE = [(Flag.INVALID, 0.0), (Flag.UNKNOWN, 1e-6), (Flag(0), np.nan), (Flag(0), np.inf)]


def without(die, where, flag=Flag.INVALID, current=np.nan):
    """Let readings of a die have no value; `where` says which, by the bias and how often it was asked so far."""
    perform, asked = die.perform, []

    def performed(operation):
        reading = perform(operation)
        gone = np.broadcast_to(where(operation.bias, len(asked)), reading.flag.shape)
        asked.append(operation.bias)
        reading.flag[gone], reading.current[gone] = flag, current
        return reading

    die.perform = performed


@pytest.mark.parametrize(("flag", "current"), NO_VALUE)
@pytest.mark.parametrize(
    ("told", "row", "col", "unread"),
    [(False, 1, None, "row 1"), (False, None, 2, "column 2"), (True, 1, 2, ""), (False, 1, 2, "")],
)
def test_a_line_is_unread_unless_the_board_never_connects_it(contact, told, row, col, unread, flag, current):
    gone = np.zeros((5, 4), np.bool_)
    gone[slice(None) if row is None else row, slice(None) if col is None else col] = True
    without(contact.die, lambda bias, k: gone if bias.gate.any() else False, flag, current)
    floating = np.zeros((5, 9), np.bool_)
    floating[:, [1, 7]] = told
    board = SimpleNamespace(applied=lambda bias: replace(bias, floating=floating))
    (lines,) = line_shares(contact.bench, contact.die, board)
    assert [lines.name(k) for k in np.flatnonzero(lines.unread)] == [unread] * bool(unread)
    assert np.flatnonzero(np.isnan(lines.share)).tolist() == [1, 7] * told + np.flatnonzero(lines.unread).tolist()
    assert (lines.share[np.isfinite(lines.share)] > 0.5).all()


@pytest.mark.parametrize(("flag", "current"), NO_VALUE)
def test_no_gate_opens_where_a_column_has_no_valid_reading_behind_closed_gates(contact, flag, current):
    without(contact.die, lambda bias, k: np.arange(4) == 2, flag, current)
    with pytest.raises(ContactUnread, match="no valid reading of column 2 behind closed gates"):
        line_shares(contact.bench, contact.die, object())
    assert not any(bias.gate.any() for bias in contact.asked)


@pytest.mark.parametrize("late", [0, 1])
def test_a_read_that_came_too_late_once_is_made_again(contact, late):
    without(contact.die, lambda bias, k: k == late)
    (lines,) = line_shares(contact.bench, contact.die, object())
    assert (lines.share > 0.5).all()
    assert len(contact.asked) == 3


def test_who_asks_for_contact_is_told_of_lines_that_were_not_read(contact):
    without(contact.die, lambda bias, k: np.arange(4) == 2)
    needles = BoardNeedles(contact.bench, object(), SimpleNamespace(name="prober"))
    needles.another_die(contact.die)
    with pytest.raises(ContactUnread, match="prober: the contact check has no valid reading of column 2 behind closed"):
        needles.check_contact()


@pytest.mark.parametrize(
    ("prober", "sim"), [(SENTIO, "bytes"), (SENTIO, "tcp"), ({"driver": "generic_prober", "resource": "2"}, "bytes")]
)
def test_one_die_after_the_other_is_touched_without_power_and_proved_at_15_mV(prober, sim):
    dies = sites()
    with on_bench(bench(prober), dies, sim) as body:
        currents = []
        for number in (0, 1, 0):
            states = []
            ready = body.approach(dies[number], states.append)
            assert (ready.notes["place"], ready.notes["touches"]) == ([number, 0], 1)
            assert states == [State.MOVING, State.CONTACT_CHECK]
            assert [line.split()[0] for line in ready.notes["contact_resistance"]] == ["row", "column"]
            assert body.twin.instruments["board"].board.chip is body.twin.dies[dies[number].spot]
            currents.append(cell(ready.die))
            assert [line.split()[0] for line in ready.prove()] == ["row", "column"]
            body.leave()
            assert not body.twin.world.in_contact
        assert currents[0] == currents[2] != currents[1]
        audit = body.twin.ledger
    assert audit.events == []
    assert audit.first_bias == pytest.approx([15e-3] * 3, abs=1e-3)
    assert body.patience == 300.0


def test_a_board_loads_its_wafer_and_shows_bins_on_the_map_where_the_bench_file_says_so():
    dies = sites()
    for asked, bins in ((True, {(1, 0, None): 5}), (False, {})):
        prober = {**SENTIO, "bins_on_map": asked, "cassette": "cas1"}
        with on_bench(bench(prober), dies, "bytes") as body:
            assert isinstance(body, Marking)
            body.load("W03", 3, lambda text: False)
            assert body.approach(dies[1]).notes["wafer"]["aligned"]
            body.leave()
            body.mark(dies[1], 5)
            assert body.twin.instruments["prober"].bins.bins == bins
            assert body.loading_patience == 300.0 + 3 * 600.0


@pytest.fixture
def contact():
    """A chip whose contact is checked, and what was asked of it; `short` conducts, in S, whatever its gates do."""
    die = chip(**SHAPE)
    perform, asked = die.perform, []

    def performed(operation):
        asked.append(operation.bias)
        reading = perform(operation)
        reading.current[:, 2] += operation.bias.row[:, 1] * checked.short
        return reading

    die.perform = performed
    checked = SimpleNamespace(die=die, asked=asked, short=0.0, bench=bench())
    return checked


def test_no_gate_opens_before_all_rows_were_read_behind_closed_gates_and_then_one_row_at_a_time(contact):
    (lines,) = line_shares(contact.bench, contact.die, object())
    assert (lines.share > 0.5).all()
    assert contact.asked[0].row == pytest.approx(np.full((1, 5), 15e-3))
    assert not contact.asked[0].gate.any()
    gates = np.concatenate([bias.gate for bias in contact.asked[1:]])
    assert [np.flatnonzero(gate).tolist() for gate in gates] == [[0], [1], [2], [3], [4]]
    assert max(abs(bias.row).max() for bias in contact.asked) == pytest.approx(15e-3)


def test_needles_that_short_lines_are_found_behind_closed_gates_and_no_gate_opens(contact):
    contact.short = 1e-2
    with pytest.raises(ContactError, match=r"behind closed gates nothing conducts, found column 2 0\.\d+ kohm; no"):
        line_shares(contact.bench, contact.die, object())
    assert len(contact.asked) == 1


def test_nothing_is_driven_on_needles_that_have_not_carried_the_first_voltage():
    dies = sites()
    with on_bench(bench(), dies, "bytes") as body:
        die = body.approach(dies[0]).die
        assert cell(die) > 0
        body.leave()
        before = body.twin.instruments["board"].board.audit.reads
        with pytest.raises(IllegalTransition, match="contact was not checked since the needles moved"):
            cell(die)
        other = body.opened.turn_to(die.nominal, 1)
        with pytest.raises(IllegalTransition):
            cell(other)
        assert body.twin.instruments["board"].board.audit.reads == before


def test_needles_stay_where_they_are_while_the_board_is_not_verified_off(monkeypatch):
    dies = sites()
    with on_bench(bench(), dies, "bytes") as body:
        die = body.approach(dies[0]).die
        cell(die)
        prober, board = body.opened.prober, body.opened.board
        for move in (prober.separate, lambda: prober.step(1, 0)):
            with pytest.raises(IllegalTransition, match="NOT verified off; land first"):
                move()

        def live():
            raise InstrumentError("board: row3 is NOT at rest")

        body.opened.needles.land()
        with monkeypatch.context() as patch:
            patch.setattr(board, "verify_off", live)
            with pytest.raises(InstrumentError, match="row3 is NOT at rest"):
                prober.separate()
        with pytest.raises(IllegalTransition):  # what did not read off has to be made safe anew
            prober.separate()
        assert body.twin.world.in_contact


def test_a_touch_under_power_is_recorded_by_the_twin():
    dies = sites()
    with on_bench(bench(), dies, "bytes") as body:
        cell(body.approach(dies[0]).die)
        body.twin.world.touch(False)
        body.twin.world.touch(True)
        hot = [event for event in body.twin.ledger.events if event.what == "hot touch"]
    assert [event.detail for event in hot] == [
        "pads left under a board: board: supplies of the chip",
        "pads touched under a board: board: supplies of the chip",
    ]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_line_without_contact_reads_open(at_once):
    dies = sites()
    with on_bench(bench(), dies, "bytes") as body:
        body.twin.instruments["board"].engine.at_once = at_once
        ready = body.approach(dies[0])
        assert cell(ready.die) > 5e-6
        body.twin.world.touch(False)
        assert abs(cell(ready.die)) < 1e-6
        energised = body.twin.ledger.energised_time()
        with pytest.raises(
            ContactError, match=r"^prober: no contact: row 0 open, row 1 .* and 3 more; a line in contact"
        ):
            ready.prove()
        assert body.twin.ledger.energised_time() == energised


def test_a_die_is_given_up_after_its_touches_and_the_ledger_counts_them(tmp_path):
    dies = sites()
    where = StressLedger.open(tmp_path / "stress.db")
    with on_bench(bench(contact={"touches_per_die": 4, "retouches": 5}), dies, "bytes") as made:
        body = OnBoard(made.opened, made.twin, ledger=where)
        body.twin.instruments["prober"].state.short = 100.0
        states = []
        with pytest.raises(ContactError, match=r"given up after 4 touches: .*its quota of 4 touches is used up"):
            body.approach(dies[0], states.append)
        assert states.count(State.RETOUCH) == 3
        assert where.touches("", "D0", "lab") == 4
        assert body.twin.ledger.events == []
        body.twin.instruments["prober"].state.short = 0.0
        with pytest.raises(ContactError, match="given up after 4 touches"):
            body.approach(dies[0])
        assert body.approach(dies[1]).notes["touches"] == 1
    where.close()


def test_a_dead_kernel_costs_a_chip_no_contact_and_a_dead_line_is_named():
    dies = sites(1)
    with on_bench(bench(), dies, "bytes") as body:
        chip = body.twin.dies[dies[0].spot]
        body.approach(dies[0])
        open_kernel(chip, 0)
        assert set(body.opened.needles.check_contact()) != set()
        open_kernel(chip, 1, row=3)
        with pytest.raises(ContactError, match=r"no contact: row 3 open; .* look whether they touch there"):
            body.opened.needles.check_contact()


def open_kernel(chip, kernel, row=slice(None)):
    """Have no cell of a kernel, or of a row of it, conduct."""
    perform = chip.perform

    def performed(operation):
        reading = perform(operation)
        here = np.broadcast_to(operation.bias.kernel, len(operation)) == kernel
        rows = operation.bias.row[:, row].reshape(len(here), -1) != 0
        alone = rows.any(1) & ((operation.bias.row != 0).sum(1) == rows.sum(1))
        reading.current[here & alone] = 0.0
        return reading

    chip.perform = performed


def test_lines_that_are_never_connected_are_no_lines_without_contact():
    dies = sites(1)
    body = {"driver": "daffodil", "resource": "1", "bad_rows": [0, 4], "bad_cols": [2], **SHAPE}
    with on_bench(bench(body=body), dies, "bytes") as on:
        assert cell(on.approach(dies[0]).die) > 5e-6


def test_by_hand_nothing_moves_and_the_die_under_the_needles_is_checked():
    dies = sites(1)
    with on_bench(bench(), dies, "bytes", by_hand=True) as body:
        ready = body.approach(dies[0])
        assert "contact_resistance" in ready.notes
        assert cell(ready.die) > 5e-6
        body.leave()
        assert body.twin.world.in_contact
        body.twin.world.touch(False)
        body.twin.instruments["prober"].level = "separation"
        with pytest.raises(ContactError, match="By hand nothing moves; put them down"):
            body.approach(dies[0])
        body.twin.instruments["prober"].level = "contact"
        ready = body.approach(dies[0])
        assert "no contact: row 0 open" in ready.notes["no_contact"]
        assert ready.prove is None
        assert body.opened.needles is not None


def test_another_die_than_the_one_of_the_map_is_refused_by_what_it_says():
    dies = sites()
    with on_bench(bench(), dies, "bytes") as body:
        body.opened.board.die_id = lambda: "D0"
        assert body.approach(dies[0]).notes["die_id"] == {"name": "D0", "by": "read by the board"}
        body.leave()
        with pytest.raises(
            ContactError, match="die D1 was to be under the needles, and it says it is 'D0'; look whether"
        ):
            body.approach(dies[1])


def test_a_bench_that_is_switched_off_after_a_touch_does_not_power_the_die_to_read_its_name(monkeypatch):
    dies = sites(1)
    with on_bench(bench(), dies, "bytes") as body:
        asked, permitted = [], body.opened.permit
        body.opened.board.die_id = lambda: asked.append("die_id") or "D0"
        check = body.opened.needles.check_contact

        def checked():
            resistance = check()
            body.opened.permit = refuse
            return resistance

        def refuse():
            raise SwitchedOff("the bench is switched off")

        monkeypatch.setattr(body.opened.needles, "check_contact", checked)
        with pytest.raises(SwitchedOff):
            body.approach(dies[0])
        assert asked == []
        body.opened.permit = permitted


def test_a_board_of_passive_dies_moves_its_needles_with_its_lines_at_ground():
    shape = {"kernels": 2, "n_rows": 3, "n_cols": 2}
    kernels = [{"rows": [0, 1, 2], "cols": [16, 17]}, {"rows": [3, 4, 5], "cols": [18, 19]}]
    dies = sites(2, "passive", shape)
    arc = {"driver": "arc_two", "id": 1, "firmware": "x.bin", "kernels": kernels}
    with on_bench(bench(body=arc), dies, "bytes") as body:
        currents = []
        for number in (0, 1, 0):
            ready = body.approach(dies[number])
            assert {line.rpartition(" ")[0] for line in ready.notes["contact_resistance"]} == {
                f"kernel {kernel} {kind}" for kernel in (0, 1) for kind in ("row", "column")
            }
            currents.append(ready.die.perform(passive_read(ready.die)).current[0, 0])
            body.leave()
        assert currents[0] == pytest.approx(currents[2], rel=1e-3)
        assert currents[0] != pytest.approx(currents[1], rel=1e-3)
        ready = body.approach(dies[0])
        body.twin.world.touch(False)
        assert abs(ready.die.perform(passive_read(ready.die)).current[0, 0]) < 1e-8
        audit = body.twin.ledger
    assert audit.events == []
    assert max(audit.first_bias) <= 15e-3


def passive_read(die):
    row = np.zeros((1, die.geometry.n_rows))
    row[0, 1] = 0.1
    return Sense(Bias(row, np.zeros((1, die.geometry.n_cols)), kernel=ONE), np.array([[1]]))


def test_a_board_that_cannot_take_the_power_from_a_chip_has_no_needles():
    body = {"driver": "daffodil_library", "class": "daffodillib.Board.controller.Daffodil_Sim", **SHAPE}
    with pytest.raises(BenchError, match=r"prober: driver 'daffodil_library' cannot take the power from a chip"):
        on_bench(bench(body=body), sites(), "bytes")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"exchange": "by hand"}, "found 'exchange: by hand' and a 'prober'; expected one way to the next die"),
        ({"prober": {**SENTIO, "resource": "1"}}, "found 1 for the board and its prober; expected an address for each"),
        ({"prober": {"driver": "keithley707b", "resource": "2"}}, "found a matrix, 'keithley707b', as 'prober'"),
        ({"prober": None, "contact": {"retouches": 1}}, "found 'contact' and no 'prober': nothing touches"),
    ],
)
def test_a_bench_file_that_says_two_things_is_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        bench(**keys)


def test_a_prober_without_an_emulator_has_a_generic_one_in_its_place(monkeypatch):
    own = mpi_sentio.DRIVER
    monkeypatch.setattr(mpi_sentio, "DRIVER", Driver(DriverKind.PROBER, own.make, own.options, wire=Wire.TEXT))
    with on_bench(bench(), sites(), "bytes") as body:
        body.approach(sites()[1])
        assert body.opened.identities["prober"] == "mtj-labctl,prober,stands in for mpi_sentio,1"


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ((0, 2), ""),
        ((2, 0), r"at x2y0 prober: no contact: row 0 open.*, expected contact; at x0y0 all lines conduct, expected no"),
    ],
)
def test_the_map_is_verified_at_places_with_and_without_a_die(places, words):
    dies = sites()
    expect = dict(zip(places, ("contact", "no contact"), strict=True))
    fiducials = [Fiducial.model_validate({"at": [x, 0], "expect": what}) for x, what in expect.items()]
    with on_bench(bench(), dies, "bytes", visited=[(2, 0)]) as body:
        if words:
            with pytest.raises(BenchError, match=words):
                body.prove(fiducials, dies)
            return
        body.prove(fiducials, dies)
        notes = body.approach(dies[1]).notes
        assert [one["at"] for one in notes["fiducials"]] == [[0, 0], [2, 0]]
        assert [len(one["resistance"]) for one in notes["fiducials"]] == [2, 0]
        assert body.twin.ledger.events == []


def test_a_fiducial_between_pads_is_none_for_a_board():
    pads = Fiducial.model_validate({"at": [0, 0], "pads": ["a", "b"], "expect": "contact"})
    with pytest.raises(BenchError, match="pads are named, and a board reads all lines of a die together"):
        fits(bench(), [pads])
