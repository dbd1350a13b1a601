"""A batch that is computed at once does what its events do one by one: codes, cells, levels, audit and time."""

import dataclasses

import numpy as np
import pytest

from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.engine import Aborted, Engine, Refused
from labctl.boards.daffodil.patterns import KEEP, READ, REST, WRITE, Pattern
from labctl.boards.daffodil.settings import Settings, wrong
from labctl.boards.daffodil.write_verify import WriteVerify
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse
from sim_backend.emulators.clock import RealClock
from sim_backend.emulators.daffodil_analog import Analog
from sim_backend.emulators.daffodil_batch import Batch, BatchEngine
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.world import Cables, World
from tests.small_chip import chip

KERNELS, ROWS, COLS = 2, 5, 4
REF, CLOSED, OPEN = 2048, 1393, 4000


def emulated(engine_of, *, clock=None, swapped=False, **die):
    """Return an initialised engine over a board with a chip."""
    rng = np.random.default_rng(1)
    analog = Analog(np.array([(100.0, 1e5)] * 25), (0, 255), rng.normal(1, 0.01, 25), rng.normal(0, 5e-3, 25))
    world = World(Cables({}, {}), lambda x, y, site: None, **({} if clock is None else {"clock": clock}))
    board = EmulatedBoard(chip(KERNELS, ROWS, COLS, **die), analog, world, swapped=swapped)
    engine = engine_of(board)
    engine.initialise()
    engine.set_up(Settings(swapped=swapped))
    return engine, board


def patterns_at_random(rng, n):
    """Return writes, their reads, lone writes and lone reads, of one cell or of many, gates closed now and then."""
    patterns = []
    while len(patterns) < n:
        kernel, cell = int(rng.integers(KERNELS)), (int(rng.integers(ROWS)), int(rng.integers(COLS)))
        rest = REST if rng.random() < 0.3 else 0
        gates = [CLOSED] * 25
        for row in [cell[0]] if rng.random() < 0.8 else np.flatnonzero(rng.random(ROWS) < 0.4):
            gates[row] = int(rng.integers(3500, 4095))
        column, row = [REF] * 25, [REF] * 25
        every, on = (1 << 25) - 1, 1 << cell[1]
        kind = rng.integers(4)
        if kind in (0, 1):
            column[cell[0]] = REF + int(rng.choice([-650, 700])) + int(rng.integers(20))
            row_on = on if rng.random() < 0.8 else every
            clocks = int(rng.choice([21312, 4000]))
            patterns.append(Pattern(kernel, WRITE | rest, clocks, every, row_on, 0, [*column, *row, *gates]))
        if kind in (0, 2, 3):
            levels = [REF] * 25
            levels[cell[0]] = REF + int(rng.integers(40, 90))
            opens = [KEEP] * 25 if patterns and rng.random() < 0.1 else gates
            if rng.random() < 0.1:
                kernel = 1 - kernel
            read = 1 << cell[1] if rng.random() < 0.5 else (1 << COLS) - 1
            clocks = int(rng.choice([60_000, 70_000]))
            patterns.append(Pattern(kernel, READ, clocks, every, every, read, [*levels, *([KEEP] * 25), *opens]))
    return patterns


def left(engine, board):
    """Return all that a batch has changed."""
    audit, ledger = dataclasses.asdict(board.audit), board.world.ledger
    return {
        "state": board.chip.truth()["state"].tolist(),
        "number": board.chip.number,
        "dac": [board.read_dac(d, c, "raw") for d in range(reg.DACS) for c in range(reg.DAC_CHANNELS)],
        "out": dict(board.out),
        "words": dict(board.words),
        "held": board.held.tolist(),
        "opened": board.opened.tolist(),
        "codes": dict(engine._codes),
        "live": engine.state(),
        "refused": audit.pop("refused"),
        "counts": (audit.pop("events"), audit.pop("reads")),
    }, [*audit.values(), ledger.peak_cell_voltage, board.now()]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_at_once_and_event_by_event_are_the_same(seed, swapped):
    rng = np.random.default_rng(seed)
    one, two = emulated(Engine, swapped=swapped), emulated(BatchEngine, swapped=swapped)
    for operation in range(3):
        patterns = patterns_at_random(rng, 50)
        for _, board in (one, two):
            board.chip.seek(operation)
            board.unpair()
        assert one[0].run(patterns) == two[0].run(patterns)
        (same, near), (other, nearly) = left(*one), left(*two)
        assert same == other
        assert near == pytest.approx(nearly, rel=1e-9)
    assert one[1].audit.reads > 60
    assert any(np.ravel(one[1].chip.truth()["state"]))


def write_verify_at_random(rng, n=30):
    """Return a write-verify of cells of one kernel with three different rungs, whose reads are its own."""
    kernel, every = int(rng.integers(KERNELS)), (1 << 25) - 1
    writes, reads = [[], [], []], []
    for _ in range(n):
        i, j, rest = int(rng.integers(ROWS)), int(rng.integers(COLS)), REST if rng.random() < 0.3 else 0
        gates, column = [CLOSED] * 25, [REF] * 25
        gates[i], column[i] = OPEN, REF + 82
        sign = int(rng.choice([-1, 1]))
        reads.append(Pattern(kernel, READ | rest, 60_000, every, every, 1 << j, [*column, *([KEEP] * 25), *gates]))
        for k, level in enumerate((250, 450, 640)):
            column = [REF] * 25
            column[i] = REF + sign * level
            codes = [*column, *([REF] * 25), *gates]
            writes[k].append(Pattern(kernel, WRITE | rest, 21312, every, 1 << j, 0, codes))
    budget = [int(b) for b in rng.integers(0, 5, n)]
    target, cut = [int(t) for t in rng.integers(0, 2, n)], [REF - 26.5] * n
    return WriteVerify(writes, reads, [0, 1, 1, 2, 2], budget, target, cut, [1000.0] * n, [2700.0] * n)


@pytest.mark.parametrize("seed", range(4))
def test_a_write_verify_rung_by_rung_and_event_by_event_are_the_same(seed):
    rng = np.random.default_rng(seed)
    one, two = emulated(Engine), emulated(BatchEngine)
    rungs = 0
    for operation in range(3):
        program = write_verify_at_random(rng)
        for _, board in (one, two):
            board.chip.seek(operation)
            board.unpair()
        made = program.run(one[0])
        assert made == program.run(two[0])
        rungs = max(rungs, *made["attempt"])
        (same, near), (other, nearly) = left(*one), left(*two)
        assert same == other
        assert near == pytest.approx(nearly, rel=1e-9)
    assert rungs > 2
    assert any(np.ravel(one[1].chip.truth()["state"]))


def test_a_rung_of_a_write_verify_is_one_operation_of_the_chip():
    engine, board = emulated(BatchEngine)
    asked, perform = [], board.chip.perform
    board.chip.perform = lambda operation: (asked.append(len(operation)), perform(operation))[1]
    made = write_verify_at_random(np.random.default_rng(2)).run(engine)
    assert sum(asked) == len(made["cell"]) > len(asked) > 0
    assert len(asked) <= max(made["attempt"])


def test_a_batch_is_computed_at_once_and_a_pulse_goes_with_its_read():
    engine, board = emulated(BatchEngine)
    asked, perform = [], board.chip.perform
    board.chip.perform = lambda operation: (asked.append((type(operation), len(operation))), perform(operation))[1]
    column, gates = [REF + 700] + [REF] * 24, [OPEN] + [CLOSED] * 24
    write = Pattern(0, WRITE, 21312, (1 << 25) - 1, 0b1, 0, [*column, *([REF] * 25), *gates])
    read = write._replace(mode=READ, clocks=60_000, row_on=(1 << 25) - 1, read=0b1, codes=[REF + 82, *write.codes[1:]])
    engine.run([write, read] * 10)
    assert [number for _, number in asked] == [10]
    assert asked[0][0] is Pulse


def test_a_chip_that_refuses_one_pattern_of_many_refuses_no_other():
    outcomes = []
    for engine_of in (Engine, BatchEngine):
        engine, board = emulated(engine_of, ideal=True)
        perform = board.chip.perform

        def refusing(operation, perform=perform):
            if np.abs(operation.bias.row).max() > 0.75:
                raise BenchError("beyond what the chip stands")
            return perform(operation)

        board.chip.perform = refusing
        outcomes.append((engine.run(patterns_at_random(np.random.default_rng(3), 60)), left(engine, board)[0]))
        board.chip.perform = perform
    assert outcomes[0] == outcomes[1]
    assert 0 < len(outcomes[0][1]["refused"]) < 60


def differently(settings, rng):
    """Return a pattern with one part at random."""
    pattern = patterns_at_random(rng, 1)[0]
    part = str(rng.choice(["kernel", "mode", "clocks", "column_on", "row_on", "read", "codes"]))
    if part == "codes":
        codes = list(pattern.codes)
        codes[int(rng.integers(75))] = int(rng.choice([0, 1392, 1393, 2048, 3000, 4095, 4096, KEEP]))
        return pattern._replace(codes=codes)
    value = {"kernel": [0, 31, 32], "mode": [READ, WRITE, READ | REST, 0, 3], "clocks": [0, 1]}
    return pattern._replace(**{part: int(rng.choice(value.get(part, [0, 1, (1 << 25) - 1, 1 << 25, 0b10101])))})


def test_what_the_board_must_not_have_is_judged_alike():
    settings, rng = Settings(columns=(1 << 25) - 1 - 4, rows=(1 << 25) - 2, up=900, down=650, top_gate=4090), np.random
    rng = rng.default_rng(5)
    patterns = [differently(settings, rng) for _ in range(2000)]
    one_by_one = [not wrong(pattern, settings) for pattern in patterns]
    assert Batch.of(patterns).allowed(settings).tolist() == one_by_one
    every = Settings(up=900, down=700)
    one_by_one = [not wrong(pattern, every) for pattern in patterns]
    assert Batch.of(patterns).allowed(every).tolist() == one_by_one
    assert 200 < sum(one_by_one) < 1800


def test_a_refused_pattern_is_named_and_nothing_is_driven():
    engine, board = emulated(BatchEngine)
    events, patterns = board.audit.events, patterns_at_random(np.random.default_rng(2), 10)
    patterns[4] = patterns[4]._replace(kernel=32)
    with pytest.raises(Refused, match=r"^pattern 4: kernel 32; there are 32$"):
        engine.run(patterns)
    assert board.audit.events == events


def late(board, patterns):
    return [p._replace(clocks=1000) if p.read else p for p in patterns]


def other_codes(board, patterns):
    board.write_dac(*reg.column_dac(3), name="raw", value=2100)
    return patterns


def not_loaded(board, patterns):
    board.write_dac(0, 15, name="calibbias", value=7)
    return patterns


@pytest.mark.parametrize("change", [late, other_codes, not_loaded])
def test_what_is_not_as_it_was_set_up_is_done_event_by_event(change):
    outcomes = []
    for engine_of in (Engine, BatchEngine):
        engine, board = emulated(engine_of)
        patterns = change(board, patterns_at_random(np.random.default_rng(7), 30))
        batches, event = [], board._event
        board._event = lambda event=event, batches=batches: (batches.append(1), event())[1]
        outcomes.append((engine.run(patterns), left(engine, board)[0], len(batches)))
        del board._event
    assert outcomes[0] == outcomes[1]
    assert outcomes[1][2] > 30


def test_on_a_clock_that_waits_events_take_their_time():
    engine, board = emulated(BatchEngine, clock=RealClock())
    events, event = [], board._event
    board._event = lambda: (events.append(1), event())[1]
    engine.run(patterns_at_random(np.random.default_rng(7), 6))
    assert len(events) > 6


def test_a_batch_that_is_to_end_begins_nothing():
    engine, board = emulated(BatchEngine)
    events, engine.abort = board.audit.events, True
    with pytest.raises(Aborted, match="after 0 of"):
        engine.run(patterns_at_random(np.random.default_rng(7), 6))
    assert board.audit.events == events + 1  # its rest
