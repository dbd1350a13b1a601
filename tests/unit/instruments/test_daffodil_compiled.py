"""Events that are made once for an operation and its parts: those that each part would have by itself, or made anew."""

import itertools
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from instruments.daffodil import _batches
from instruments.daffodil_compiled import BATCH, _asked
from instruments.daffodil_plan import Options, Plan
from instruments.open_board import BareBoard, BoardDie
from labctl.boards.daffodil.patterns import unpack
from labctl.core.bias import Bias, Nominal
from labctl.core.errors import BenchError, LimitError
from labctl.core.limits import Limits
from labctl.core.operations import Pulse, Sense
from labctl.execution.recorded_die import chunk_of

KERNELS, ROWS, COLS, N = 3, 5, 4, 120
LIMITS = Limits(
    v_towards_p=1.2, v_towards_ap=1.2, width=0.1, compliance=5e-3, v_gate=3.0, v_count=0.5, pulses_per_cell=10**9
)
KINDS = ("read", "pulse", "pulse with its read")
BOARDS = {"all lines good": {}, "bad lines": {"bad_rows": [1], "bad_cols": [0]}}


def plan(**options):
    return Plan(Options(kernels=KERNELS, n_rows=ROWS, n_cols=COLS, **options), Nominal.alike(2e-4, 1e-4, KERNELS), 1)


def at_random(rng, kind, n=N, floats=True):
    """Return an operation of n patterns that lasts longer than a batch."""
    kernel = np.sort(rng.integers(0, KERNELS, n))

    def bias(reads):
        floating = rng.random((n, ROWS + COLS)) < rng.choice([0.0, 0.3]) if floats else None
        col = np.broadcast_to(0.0, (n, COLS)) if reads else rng.uniform(-0.3, 0.3, (n, COLS))
        row = rng.uniform(-0.5, 0.5, (n, ROWS)) * (rng.random((n, ROWS)) < 0.4)
        return Bias(row, col, rng.uniform(0, 2, (n, ROWS)), floating, kernel=kernel)

    sense = Sense(bias(True), rng.integers(0, COLS, (n, 2)), 30e-3)
    if kind == "read":
        return sense
    return Pulse(bias(False), 30e-3, sense if kind == "pulse with its read" else None)


def assert_as_alone(board, part, **options):
    """Assert that the events and times of a part are those that a board makes of it which has met nothing before."""
    (events, seconds), (alone, alone_seconds) = board._events(part), plan(**options)._events(part)
    assert events.records.tobytes() == alone.records.tobytes()
    assert seconds.tolist() == alone_seconds.tolist()


def made_by(board, monkeypatch):
    """Return the list of operations of which a board makes events from now on."""
    made, make = [], board._made
    monkeypatch.setattr(board, "_made", lambda operation: (made.append(operation), make(operation))[1])
    return made


@pytest.mark.parametrize("which", BOARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_in_their_order_have_the_events_that_each_has_alone_and_are_made_once(kind, which, monkeypatch):
    options = BOARDS[which]
    board, rng = plan(**options), np.random.default_rng(5)
    made = made_by(board, monkeypatch)
    for _ in range(4):
        whole = at_random(rng, kind)
        made.clear()
        assert board.check(whole) > BATCH
        cuts = [0, *np.sort(rng.choice(np.arange(1, N), 4, replace=False)).tolist(), N]
        for begin, end in itertools.pairwise(cuts):
            part = whole.take(slice(begin, end))
            board.check(part)
            assert_as_alone(board, part, **options)
        assert made == [whole]


@pytest.mark.parametrize("which", BOARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_was_looked_ahead_to_has_the_events_that_it_has_alone_and_another_part_its_own(kind, which):
    options = BOARDS[which]
    board, rng = plan(**options), np.random.default_rng(6)
    pace = board._options.pace
    for cuts in ([0, 7, 14, 21, 28, N], [0, 7, 9, 40, N]):  # as long as the one before, or not
        whole = at_random(rng, kind)
        board.check(whole)
        ahead = board._compiled.look_ahead(pace)
        assert ahead is None
        for begin, end in itertools.pairwise(cuts):
            part = whole.take(slice(begin, end))
            board.check(part)
            assert_as_alone(board, part, **options)
            if ahead is not None and len(ahead[0].records) == len(board._events(part)[0].records):
                assert board._events(part)[0] is ahead[0]  # not made once more
            ahead = board._compiled.look_ahead(pace)
            if end == N:
                assert ahead is None
            else:
                following = whole.take(slice(end, end + len(part)))
                assert ahead[0].records.tobytes() == plan(**options)._events(following)[0].records.tobytes()
                assert unpack(ahead[0].packed, 1 << 20) == ahead[0].records.tobytes()


def test_a_part_that_differs_from_the_one_that_was_looked_ahead_to_is_made_anew():
    board, whole = plan(), at_random(np.random.default_rng(7), "pulse with its read")
    board.check(whole)
    board.check(whole.take(slice(0, 20)))
    assert board._compiled.look_ahead(board._options.pace) is not None
    assert_as_alone(board, changed(whole.take(slice(20, 40)), "bias.row", 3))


def changed(value, name, place):
    """Return an operation with one field of one pattern, or of all of them, changed a little."""
    first, _, rest = name.partition(".")
    inner = getattr(value, first)
    if rest:
        return replace(value, **{first: changed(inner, rest, place)})
    if inner is None:  # a mask of lines that float
        inner = np.zeros((len(value), ROWS + COLS), np.bool_)
        inner[place, -1] = True
    elif isinstance(inner, np.ndarray):
        inner = inner.copy()
        at = (place, *(0,) * (inner.ndim - 1))
        step = {"b": True, "i": 1 - 2 * int(inner[at] > 0), "f": 0.01}[inner.dtype.kind]
        inner[at] = inner[at] ^ step if inner.dtype.kind == "b" else inner[at] + step
    else:
        inner = inner * 1.5
    return replace(value, **{first: inner})


NAMES = [
    *(f"{of}{name}" for of in ("bias.", "verify.bias.") for name in [f.name for f in fields(Bias)]),
    *("width", "verify.cols", "verify.aperture"),
]
REFUSED = {
    "bias.kernel": "different kernels",
    "verify.bias.kernel": "different kernels",
    "verify.bias.col": "a column at 0.01 V while columns are read",
}
"""Fields in which a change is one that the board cannot do."""


def test_every_field_of_an_operation_is_compared():
    names = {name for name, _ in _asked(at_random(np.random.default_rng(0), "pulse with its read"))}
    assert names == set(NAMES)
    assert all(is_dataclass(kind) for kind in (Bias, Sense, Pulse))


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_part_that_differs_in_any_one_field_is_made_anew(name, floats, monkeypatch):
    board = plan()
    whole = at_random(np.random.default_rng(7), "pulse with its read", floats=floats)
    board.check(whole)
    made = made_by(board, monkeypatch)
    other = changed(whole.take(slice(0, 10)), name, 7)
    if name in REFUSED:
        with pytest.raises(BenchError, match=REFUSED[name]):
            board.check(other)
    else:
        board.check(other)
        assert_as_alone(board, other)
    assert made == [other]
    board.check(whole.take(slice(0, 10)))  # the one that comes next
    assert made == [other]


def test_voltages_that_were_changed_in_place_since_the_whole_was_checked_are_made_anew():
    whole, board = at_random(np.random.default_rng(8), "pulse with its read"), plan()
    board.check(whole)
    whole.bias.row[17, 2] += 0.2
    part = whole.take(slice(0, 20))
    board.check(part)
    assert_as_alone(board, part)


@pytest.mark.parametrize("begin", [0, 30])
def test_a_part_at_another_place_or_a_second_time_is_made_anew(begin, monkeypatch):
    whole, board = at_random(np.random.default_rng(9), "read"), plan()
    board.check(whole)
    board.check(whole.take(slice(0, 20)))
    made = made_by(board, monkeypatch)
    part = whole.take(slice(begin, begin + 20))
    board.check(part)
    assert_as_alone(board, part)
    assert made == [part]


def test_a_part_is_judged_by_its_own_voltages_whatever_was_checked_before():
    """The whole passes no limits here, as if something between them had changed it: its parts do, one by one."""
    board = plan()
    die = BoardDie(BareBoard(board, board.nominal), LIMITS)
    whole = at_random(np.random.default_rng(10), "pulse with its read", floats=False)
    high = whole.bias.row.copy()
    high[25, 0] = 1.3
    whole = replace(whole, bias=replace(whole.bias, row=high))
    board.check(whole)
    for begin, allowed in ((0, True), (20, False)):
        part = whole.take(slice(begin, begin + 20))
        if allowed:
            die.check(part)
        else:
            with pytest.raises(LimitError, match="cell voltage towards P"):
                die.check(part)


@pytest.mark.parametrize("change", ["another die", "other limits"])
def test_nothing_is_kept_for_another_die_or_under_other_limits(change, monkeypatch):
    board = plan(bad_cols=[0])
    whole = at_random(np.random.default_rng(11), "pulse")
    board.check(whole)
    made = made_by(board, monkeypatch)
    if change == "another die":
        board.turn_to(board.nominal, -1)
    else:
        board.keep_within(LIMITS.model_copy(update={"v_towards_p": 0.05, "v_towards_ap": 0.05}))
    part = whole.take(slice(0, 20))
    if change == "another die":
        board.check(part)
    else:
        with pytest.raises(LimitError, match="on a bad line"):
            board.check(part)
    assert made == [part]


@pytest.mark.parametrize(("lease", "seconds"), [(10.0, 2.0), (3.0, 1.5), (1.0, 0.5)])
def test_a_chunk_and_a_batch_are_half_a_lease_at_most(lease, seconds):
    board = plan(lease=lease)
    assert board.chunk == seconds
    whole = at_random(np.random.default_rng(7), "pulse with its read", n=100)
    time = board.check(whole)
    size = chunk_of(100, time, board.chunk)
    parts = [board._events(whole.take(slice(k, k + size))) for k in range(0, 100, size)]
    assert [len(list(_batches(*part, board.chunk))) for part in parts] == [1] * len(parts)
    events, times = board._events(whole)
    cuts = [part.start for part in _batches(events, times, board.chunk)]
    assert all(cut % 2 == 0 for cut in cuts)
    assert len(cuts) == pytest.approx(time / board.chunk, abs=1)
