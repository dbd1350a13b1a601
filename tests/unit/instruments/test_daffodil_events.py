"""Rest between the patterns of a Daffodil board, and their times, against a loop over lines and patterns."""

import numpy as np
import pytest

from instruments.daffodil_events import Lines
from instruments.daffodil_plan import Options
from labctl.boards.daffodil import patterns as wire
from labctl.core.bias import Bias
from labctl.core.cell_voltage import extremes

ROWS, COLS = 5, 4
BOARDS = {"all lines good": ((), ()), "bad lines": ((1,), (0, 2)), "no good column": ((), range(COLS))}


def at_random(rng, n, reads, floats):
    """Return n patterns of few levels, of which some are those of the pattern before."""
    levels = rng.choice([0.0, 0.1, 0.3, -0.3], (n, ROWS + COLS), p=[0.85, 0.05, 0.05, 0.05])
    levels[1::3] = levels[:-1:3]
    if reads:
        levels[:, ROWS:] = 0.0
    floating = rng.random((n, ROWS + COLS)) < floats if floats else None
    return Bias(levels[:, :ROWS], levels[:, ROWS:], np.full((n, ROWS), 1.6), floating, kernel=np.arange(n) // 5)


def rests(biases, good):
    """Return which of patterns need rest before them: where one end of a cell goes first, or the other."""
    left, before, kernel, result = np.zeros(ROWS + COLS), (0.0, 0.0), None, []
    for bias in biases:
        on = good & (~bias.floating[0] if bias.floating is not None else True)
        now = np.where(on, np.concatenate([bias.row[0], bias.col[0]]), left)
        ends = np.stack([left, now, np.zeros_like(now)])
        rows, cols = ends[:, :ROWS], ends[:, ROWS:]
        peaks = extremes(bias)
        own = float(peaks.positive[0]), float(peaks.negative[0])
        seen = rows.max() - cols.min(), cols.max() - rows.min()
        more = any(s > max(a, b) + 1e-9 for s, a, b in zip(seen, own, before, strict=True))
        result.append(bool(more or kernel not in (None, bias.kernel[0])))
        left, before, kernel = now, own, bias.kernel[0]
    return result


def seconds(records, pace):
    """Return the time of each event, s."""
    result, before = [], None
    for r in records:
        codes = np.concatenate([r["column"], r["row"], r["gate"]])
        written = sum(
            int(code != wire.KEEP and (before is None or before[k] not in (code, wire.KEEP)))
            for k, code in enumerate(codes)
        )
        rest = pace.rest + 2 * 25 * pace.dac_write if r["mode"] & wire.REST else 0.0
        result.append(float(r["clocks"]) * pace.clock + written * pace.dac_write + rest)
        before = codes
    return result


@pytest.mark.parametrize("which", BOARDS)
@pytest.mark.parametrize("floats", [0.0, 0.05, 0.4])
def test_rest_comes_where_a_cell_could_see_more_on_the_way_and_nowhere_else(which, floats):
    rng, options = np.random.default_rng(4), Options()
    bad_rows, bad_cols = BOARDS[which]
    lines = Lines(options, ROWS, COLS, frozenset(bad_rows), frozenset(bad_cols))
    rested = np.zeros(2, np.int64)
    for n in [*range(1, 7)] * 12 + [40] * 3:
        pulses, reads = at_random(rng, n, False, floats), at_random(rng, n, True, rng.choice([0.0, floats]))
        events, order = lines.writes(pulses, 1000), [pulses]
        if rng.random() < 0.6:
            events = type(events).woven(events, lines.reads(reads, np.zeros((n, 1), int), 1e-3, options.pace))
            order.append(reads)
        records = events.rested().records
        rest = (records["mode"] & wire.REST) > 0
        single = [bias.take(slice(k, k + 1)) for k in range(n) for bias in order]
        assert rest.tolist() == rests(single, np.concatenate([lines.row_good, lines.col_good]))
        assert options.pace.seconds(records) == pytest.approx(seconds(records, options.pace), rel=1e-12)
        rested += np.bincount(rest, minlength=2)
    assert (rested > 20).all()
