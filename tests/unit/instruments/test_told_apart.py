"""Equal instruments that nothing tells apart are refused on a real bench, unless they are accepted by name."""

from itertools import combinations

import pytest

from instruments.bench import Bench
from instruments.open_bench import planned_die
from instruments.told_apart import exchangeable, require_told_apart
from labctl.core.bias import Nominal
from labctl.core.errors import BenchError
from labctl.core.site import Site
from labctl.station.bench_setup import on_bench
from sim_backend.description import DieDescription

LIMITS = {
    "v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "10 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
}  # fmt: skip
SOURCE = {
    "driver": "generic_source", "channels": ["smua", "smub"], "ranges_v": ["1 V"], "ranges_i": ["10 uA", "100 mA"],
    "shortest_pulse": "200 us", "shortest_aperture": "20 us", "longest_aperture": "0.4 s", "stands": True,
}  # fmt: skip
NOMINAL = Nominal([4e-4], [2e-4])
PAIR = {"kernels": [{"rows": ["r"], "cols": ["c"]}]}


def bench(pads, sources, matrices=(), structures=(("r", "c"),), channels=None, **changes):
    """Return a bench of one cell; `changes` are keys of its instruments, by name."""
    instruments = {name: SOURCE | {"resource": name} for name in sources}
    instruments |= {name: {"driver": "keithley707b", "resource": name} for name in matrices}
    for name, keys in changes.items():
        instruments[name] |= keys
    wiring = {"pads": pads, **PAIR} | ({"channels": channels} if channels else {})
    contact = {"structures": [list(pair) for pair in structures]}
    keys = {"name": "b", "instruments": instruments, "wiring": wiring, "limits": LIMITS, "contact": contact}
    return Bench.model_validate(keys, context={"file": True})


ONE_EACH = {"r": "s1.smua", "c": "s2.smua"}
OVER = {"s1.smua": "m.A", "s1.smub": "m.B", "s2.smua": "m.C", "s2.smub": "m.D"}
COLUMNS = {"r": "m.1-01", "c": "m.1-02"}
TWO = {"s1.smua": ["left.A", "right.A"], "s1.smub": ["left.B", "right.B"]}
SPLIT = {"r": "left.1-01", "c": "right.1-02"}


@pytest.mark.parametrize(
    ("file", "pairs"),
    [
        (bench(ONE_EACH, ("s1", "s2")), [("s1", "s2")]),
        (bench({"r": "s1.smua", "c": "s2.smub"}, ("s1", "s2")), []),
        (bench({"r": "s1.smua", "c": "s1.smub"}, ("s1", "s2")), []),
        (bench({"r": "s1.smua", "c": "s1.smub"}, ("s1", "s2", "s3")), [("s2", "s3")]),
        (bench(ONE_EACH, ("s1", "s2"), s1={"serial": "12"}), []),
        (bench(ONE_EACH, ("s1", "s2"), s2={"unpinned": True}), []),
        (bench(ONE_EACH, ("s1", "s2"), s2={"longest_aperture": "0.3 s"}), [("s1", "s2")]),
        (bench(ONE_EACH, ("s1", "s2"), s2={"model": "another"}), []),
        (bench(COLUMNS, ("s1", "s2"), ("m",), channels=OVER), []),
        (bench(COLUMNS, ("s1", "s2"), ("m",), structures=(), channels=OVER), []),
        (bench(SPLIT, ("s1",), ("left", "right"), channels=TWO), [("left", "right")]),
        (bench(SPLIT, ("s1",), ("left", "right"), channels=TWO, right={"serial": "7"}), []),
    ],
)
def test_pairs_that_nothing_tells_apart(file, pairs):
    die = planned_die(file, NOMINAL)
    assert list(exchangeable(file, die)) == pairs
    if pairs:
        words = f"{pairs[0][0]} and {pairs[0][1]} are the same model.*nothing was changed"
        with pytest.raises(BenchError, match=words):
            require_told_apart(file, die)
    else:
        require_told_apart(file, die)


def test_a_real_bench_is_refused_before_it_is_connected_and_its_twin_is_not():
    file = bench(ONE_EACH, ("s1", "s2"))
    keys = {"name": "d", "geometry": {"kernels": 1, "n_rows": 1, "n_cols": 1}, "junction": {"diameter": "80 nm"}}
    site = Site("D1", DieDescription.model_validate(keys, context={"file": True}), 1, (0, 0))
    with pytest.raises(BenchError, match="s1 and s2 are the same model, neither has a 'serial'"):
        on_bench(file, [site], None)
    with on_bench(file, [site], "bytes", by_hand=True) as body:
        assert body.approach(site).die


def test_three_equal_sources_are_three_pairs():
    file = bench({"r": "ground", "c": "s1.smua"}, ("s1", "s2", "s3"))
    separated = {("s1", "s2"), ("s1", "s3")}
    assert set(exchangeable(file, planned_die(file, NOMINAL))) == set(combinations(("s1", "s2", "s3"), 2)) - separated
