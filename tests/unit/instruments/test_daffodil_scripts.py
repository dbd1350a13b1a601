"""Write plans that a Daffodil board carries out by itself: what is known of one that breaks off, and what it takes."""

import json

import numpy as np
import pytest

from instruments.daffodil_plan import Options, Plan
from instruments.open_board import BareBoard, BoardDie
from labctl.core.bias import Nominal
from labctl.core.errors import BenchError, InstrumentError, SwitchedOff
from labctl.core.limits import Limits
from labctl.core.operations import Attempts, Flag, WritePlan
from labctl.core.write_loop import program_by_host
from tests.small_chip import chip, on_board, read, write

LIMITS = Limits(
    v_towards_p=2.0, v_towards_ap=2.0, width=1.0, compliance=1.0, v_gate=3.3, v_count=0.3, pulses_per_cell=10**9
)
LADDER = (0.4, 0.5, 0.55, 0.6, 0.6, 0.8)


def plan_of(die, n=40, seed=6):
    """Return a plan of all cells of two kernels of 5 x 4, in any order."""
    rng = np.random.default_rng(seed)
    at = tuple(index.ravel()[rng.permutation(n)] for index in np.indices(die.geometry.shape))
    kernel = np.sort(at[0])
    target = rng.random(n) < 0.5
    bias = write(die, kernel, *at[1:], target, 1.0).bias
    cut = np.asarray(die.nominal.cut(kernel))
    return WritePlan(bias, read(die, kernel, *at[1:]), target, cut, 0.1, np.array(LADDER), rng.integers(0, 7, n), 1e-3)


def inside(on):
    return BoardDie(BareBoard(on.board, on.board.nominal), LIMITS, inside=True)


def by_cell(attempts):
    """Return (cell, attempt) of the attempts, as a set, and of those that are lost."""
    pairs = list(zip(attempts.cell.tolist(), attempts.attempt.tolist(), strict=True))
    return set(pairs), {pair for pair, flag in zip(pairs, attempts.pulse_flag, strict=True) if flag & Flag.UNKNOWN}


def test_of_a_message_without_an_answer_all_attempts_count_and_of_those_after_it_none():
    on, alone = on_board(chip(2, 5, 4, ideal=True)), on_board(chip(2, 5, 4, ideal=True))
    die, plan, answer = inside(on), plan_of(on.board), on.server.service.answer_to
    asked = []

    def second_is_lost(line):
        asked.append(line[:5])
        return "ERROR fault: smoke" if asked.count("WRITE") == 2 and line[:5] == "WRITE" else answer(line)

    on.server.service.answer_to = second_is_lost
    with pytest.raises(InstrumentError, match="smoke"):
        die.program(plan)
    rescued = die.scripts.rescued
    first = np.flatnonzero(plan.write.kernel == 0)
    second = np.flatnonzero(plan.write.kernel == 1)
    done, lost = by_cell(rescued)
    assert done - lost == by_cell(program_by_host(alone.board, plan.take(first)))[0], "the first message is known"
    at_most = Attempts.at_most(plan.take(second))
    assert lost == {(int(second[c]), int(a)) for c, a in zip(at_most.cell, at_most.attempt, strict=True)}
    assert rescued.lost.sum() == (plan.most[second] > 0).sum()
    assert (die.counts >= die._pulses(plan, rescued)).all(), "the limits count as many"


@pytest.mark.parametrize("events", [1, 2, 20, 21, 31])
def test_a_plan_that_somebody_ends_tells_what_was_done_and_the_attempt_that_may_have_begun(events):
    on = on_board(chip(1, 5, 4, ideal=True), at_once=False)
    die, plan = inside(on), plan_of(on.board, 20)
    die.sense(read(on.board, *(np.array([0]) for _ in range(3))))
    board, event, writes = on.server.board, on.server.board._event, []

    def ended():
        before = board.audit.reads
        event()
        reads = board.audit.reads > before
        if not reads and board.opened.any():
            writes.append(board.now())
        if len(writes) + board.audit.reads - taken >= events:
            on.server.engine.abort = True

    taken = board.audit.reads
    board._event = ended
    with pytest.raises(InstrumentError, match="ended by the board"):
        die.program(plan)
    done, lost = by_cell(die.scripts.rescued)
    assert len(lost) == 1
    assert len(done) - 1 <= len(writes) <= len(done), "an upper bound, at most one too many"
    whole = program_by_host(on_board(chip(1, 5, 4, ideal=True)).board, plan)
    order = np.lexsort((whole.cell, whole.attempt))
    expected = list(zip(whole.cell[order].tolist(), whole.attempt[order].tolist(), strict=True))[: len(done)]
    assert done == set(expected), "the one that may have begun is the next one"


def test_cells_on_bad_lines_are_in_no_message_and_end_as_by_the_host():
    bad = {"options": {"bad_rows": [2], "bad_cols": [1]}}
    on, alone = (on_board(chip(2, 5, 4, ideal=True), **bad) for _ in range(2))
    plan, sent = plan_of(on.board), []
    answer = on.server.service.answer_to
    on.server.service.answer_to = lambda line: (sent.append(line), answer(line))[1]
    made, host = inside(on).program(plan), program_by_host(alone.board, plan)
    assert by_cell(made) == by_cell(host)
    row, col = (plan.verify.bias.row != 0).argmax(1), plan.verify.cols[:, 0]
    void = (row == 2) | (col == 1)
    assert (made.flag[void[made.cell]] == Flag.INVALID).all()
    assert not (made.flag[~void[made.cell]] & Flag.INVALID).any()
    cells = [len(json.loads(line.split(" ", 2)[2])["budget"]) for line in sent if line.startswith("WRITE")]
    assert sum(cells) == (~void).sum()


def test_a_plan_that_the_server_refuses_was_not_begun():
    on = on_board(chip(1, 5, 4, ideal=True))
    die, plan, answer = inside(on), plan_of(on.board, 20), on.server.service.answer_to
    on.server.service.answer_to = lambda line: "ERROR refused: no" if line[:5] == "WRITE" else answer(line)
    with pytest.raises(BenchError, match="no"):
        die.program(plan)
    assert len(die.scripts.rescued.cell) == 0
    on.server.service.answer_to = answer
    beyond = WritePlan(plan.write.scaled(4.0), *(getattr(plan, n) for n in list(vars(plan))[1:]))
    with pytest.raises(BenchError, match="the board's converters drive lines"):
        on.board.program(beyond)
    assert len(on.board.scripts.rescued.cell) == 0


def test_a_message_has_cells_of_one_kernel_and_half_a_lease_of_time():
    options = Options(kernels=2, n_rows=5, n_cols=4)
    board = Plan(options, Nominal.alike(2e-4, 1e-4, 2), 1)
    plan, scripts = plan_of(board), board.scripts
    assert [sorted(set(plan.write.kernel[cells].tolist())) for cells in scripts.messages(plan)] == [[0], [1]]
    assert 0 < scripts.expected(plan) < scripts.longest(plan)
    assert board.check(plan) == scripts.longest(plan)
    short = Plan(options.model_copy(update={"lease": 0.1}), Nominal.alike(2e-4, 1e-4, 2), 1)
    parts = list(short.scripts.messages(plan))
    assert len(parts) > 2
    assert np.array_equal(np.concatenate(parts), np.arange(40))
    seconds = short.seconds_of_cells(plan, plan.most)
    assert all(seconds[cells].sum() <= 0.05 for cells in parts)
    assert (scripts.expected(plan) - 2 * options.message) == pytest.approx(
        board.seconds_of_cells(plan, np.minimum(plan.most, 1)).sum()
    )
    tight = Plan(options.model_copy(update={"lease": 1.9 * seconds.max()}), Nominal.alike(2e-4, 1e-4, 2), 1)
    with pytest.raises(BenchError, match=r"half a lease of .* is what the board carries out by itself"):
        tight.scripts.require_fit(plan)


@pytest.mark.parametrize("kept", [0, 1, 13])
def test_an_answer_that_ends_before_the_plan_does_is_none(kept):
    on = on_board(chip(1, 5, 4, ideal=True))
    die, plan, answer = inside(on), plan_of(on.board, 20), on.server.service.answer_to

    def cut(line):
        reply = answer(line)
        if line[:5] != "WRITE":
            return reply
        verb, _, text = reply.partition(" ")
        return f"{verb} " + json.dumps({name: part[:kept] for name, part in json.loads(text).items()})

    on.server.service.answer_to = cut
    with pytest.raises(InstrumentError, match="end before its end: attempt"):
        die.program(plan)
    rescued = die.scripts.rescued
    assert np.array_equal(np.bincount(rescued.cell, minlength=20), plan.most), "all of it counts"


def test_an_answer_that_is_no_object_is_an_error_of_the_board():
    on = on_board(chip(1, 5, 4, ideal=True))
    die, answer = inside(on), on.server.service.answer_to
    on.server.service.answer_to = lambda line: "ATTEMPTS 5" if line[:5] == "WRITE" else answer(line)
    with pytest.raises(InstrumentError, match="expected JSON"):
        die.program(plan_of(on.board, 20))


def test_a_plan_that_ends_because_the_bench_was_switched_off_is_told_as_that():
    on = on_board(chip(1, 5, 4, ideal=True))
    off = []

    def permit():
        if off:
            raise SwitchedOff("switched off by somebody")

    die = BoardDie(BareBoard(on.board, on.board.nominal), LIMITS, permit, inside=True)
    answer = on.server.service.answer_to

    def switched_off(line):
        if line[:5] == "WRITE":
            off.append(line)
            return "ERROR safed: it was made safe"
        return answer(line)

    on.server.service.answer_to = switched_off
    with pytest.raises(SwitchedOff):
        die.program(plan_of(on.board, 20))
