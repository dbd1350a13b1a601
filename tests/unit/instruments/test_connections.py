"""Wires are followed from a source to a pad; a wiring that no die can be measured on is refused with both names."""

import pytest

from instruments.connections import connect_wiring
from instruments.keithley707b import scheme
from instruments.wiring import Wiring
from labctl.core.errors import BenchError

CHANNELS = {"smu": ("a", "b"), "other": ("a", "b"), "foreign": None}
SCHEMES = {"left": scheme("707B"), "right": scheme("708B")}
PADS = {"r0": "1-01", "r1": "1-02", "c0": "1-03", "c1": "2-01", "c2": "2-12"}
KERNEL = [{"rows": ["r0", "r1"], "cols": ["c0", "c1", "c2"]}]


def connected(matrices=("left",), **wiring):
    values = {"pads": PADS, "kernels": KERNEL, **wiring}
    schemes = {name: SCHEMES[name] for name in matrices}
    return connect_wiring(Wiring.model_validate(values), CHANNELS, schemes, {"chuck": "prober"})


def test_one_matrix_joins_every_source_to_every_pad_by_one_relay():
    connections = connected(channels={"smu.a": "A", "smu.b": "B"}, ground="H")
    assert connections.channels == ("smu.a", "smu.b")
    assert connections.relay("r1", 0) == ("left", "1A02")
    assert connections.relay("c2", 1) == ("left", "2B12")
    assert connections.relay("c2", connections.ground) == ("left", "2H12")
    assert connections.grounding["left", "2A12"] == ("left", "2H12")
    assert connections.never_grounded == ()
    with pytest.raises(BenchError, match="pad 'x9' is not in the wiring"):
        connections.relay("x9", 0)


def test_without_a_ground_row_nothing_is_grounded():
    connections = connected(channels={"smu.a": "A", "smu.b": "B"})
    assert connections.never_grounded == tuple(PADS)
    with pytest.raises(BenchError, match="pad r0 cannot be connected to ground"):
        connections.relay("r0", 2)


def test_rows_of_two_matrices_are_joined_where_a_wire_joins_them_and_nowhere_else():
    pads = {pad: f"{'left' if pad[0] == 'r' else 'right'}.1-0{k + 1}" for k, pad in enumerate(PADS)}
    rows = {"smu.a": ["left.A", "right.A"], "smu.b": "right.B"}
    connections = connected(("left", "right"), channels=rows, ground="left.H", pads=pads)
    assert connections.relay("r0", 0) == ("left", "1A01")
    assert connections.relay("c0", 0) == ("right", "1A03")
    assert connections.sources("r0") == {0, 2}
    assert connections.sources("c0") == {0, 1}
    assert connections.never_grounded == ("c0", "c1", "c2")


def test_without_a_matrix_pads_are_wired_to_channels_and_ground():
    connections = connected((), pads={"r": "smu.b", "c": "ground"}, kernels=[{"rows": ["r"], "cols": ["c"]}])
    assert connections.channels == ("smu.b",)
    assert connections.wired == {"r": 0, "c": 1}
    assert connections.relay("r", 0) is None
    assert connections.sources("c") == {connections.ground}


def test_a_matrix_may_have_dots_in_its_columns():
    def dotted(row, column):
        return f"{row}+{column}"

    wiring = Wiring.model_validate({
        "channels": {"smu.a": "R1", "smu.b": "R2"}, "pads": {"r": "c.1.1", "c": "c.1.2"},
        "kernels": [{"rows": ["r"], "cols": ["c"]}],
    })  # fmt: skip
    named = wiring.model_copy(update={"pads": {"r": ("box.c.1.1",), "c": ("box.c.1.2",)}})
    for one in (wiring, named):
        assert connect_wiring(one, CHANNELS, {"box": dotted}, {}).relay("c", 1) == ("box", "R2+c.1.2")


TWO = {"channels": {"smu.a": "A", "smu.b": "B"}}
ONE_CELL = {"kernels": [{"rows": ["r0"], "cols": ["c0"]}]}
BY_WIRE = {"pads": {"r0": "smu.a", "c0": "smu.b"}, **ONE_CELL}

UNSOUND = {
    "two pads on one column": (
        {**TWO, "pads": {**PADS, "c2": "2-01"}}, "c1 and c2 are both on matrix column 2-01"),
    "two channels on one row": (
        {"channels": {"smu.a": "A", "smu.b": "A"}}, "smu.a and smu.b are both on matrix row A"),
    "a channel on the ground row": (
        {**TWO, "ground": "B"}, "smu.b and ground would be shorted, they are both on matrix row B"),
    "a row that is none": (
        {"channels": {"smu.a": "A", "smu.b": "J"}},
        "left, between smu.b on row J and pad r0: 'J' is not a row of a 707B"),
    "a column that is none": (
        {**TWO, "pads": {**PADS, "c2": "2-13"}}, "pad c2: '2-13' is not a column of a 707B, slot-column such as 1-07"),
    "a slot that is none": ({**TWO, "pads": {**PADS, "c2": "7-01"}}, "pad c2: '7-01' is not a column of a 707B"),
    "a pad on two channels": (
        {"pads": {"r0": ["smu.a", "smu.b"], "c0": "ground"}, **ONE_CELL},
        "pad r0 is wired to smu.a and to smu.b: two outputs on one pad fight"),
    "a pad on a channel and on ground": (
        {"pads": {"r0": ["smu.a", "ground"], "c0": "smu.b"}, **ONE_CELL},
        "pad r0 is wired to smu.a and to ground: it would be shorted"),
    "an output on two pads": (
        {"pads": {"r0": "smu.a", "c0": "smu.a"}, **ONE_CELL},
        "smu.a is wired to pads r0 and c0: one output on two pads needs a relay between"),
    "a wire around a relay": (
        {**TWO, "pads": {**PADS, "c0": ["1-03", "other.a"]}},
        "pad c0 is wired to other.a and is on matrix column 1-03: a relay there would put a second source on it"),
    "a wired channel on a row": (
        {**TWO, "pads": {**PADS, "c0": "smu.b"}},
        "channel smu.b is wired to pad c0 and is on matrix row B: a relay there would join c0 to another pad"),
    "everything on ground": (
        {"pads": {"r0": "ground", "c0": "ground", "t": "smu.a"}, **ONE_CELL}, "r0 and c0 can only be on ground"),
    "one channel and no ground": (
        {"channels": {"smu.a": "A"}, "pads": {"r0": "1-01", "c0": "1-02"}, **ONE_CELL},
        "r0 and c0 can only be on smu.a: no voltage is ever across their cell; add ground"),
    "no channel": ({"pads": {"r0": "1-01", "c0": "ground"}, "ground": "A", **ONE_CELL}, "no channel is wired"),
    "columns that cannot be told apart": (
        {"pads": {"r0": "smu.a", "c0": "ground", "c1": "ground"}, "kernels": [{"rows": ["r0"], "cols": ["c0", "c1"]}]},
        "column c0 is only ever on ground, and so is c1"),
    "a column and a row on ground": (
        {"pads": {"r0": "ground", "r1": "smu.a", "c0": "ground", "c1": "smu.b"},
         "kernels": [{"rows": ["r0", "r1"], "cols": ["c0", "c1"]}]},
        "r0 and c0 can only be on ground"),
    "a prober that sources": (
        {"pads": {"r0": "chuck.z", "c0": "ground"}, **ONE_CELL}, "channel chuck.z is wired, but chuck is a prober"),
    "an instrument that is not there": (
        {**BY_WIRE, "pads": {"r0": "smu9.a", "c0": "ground"}}, "smu9.a is wired, and there is no instrument 'smu9'"),
    "a channel that is not there": (
        {**BY_WIRE, "pads": {"r0": "smu.z", "c0": "ground"}}, "smu has no channel 'z'; it has a, b"),
    "a channel that is a matrix": (
        {"channels": {"left.A": "A"}}, "channel left.A is wired, but left is no source but a matrix"),
}  # fmt: skip


@pytest.mark.parametrize(("wiring", "words"), UNSOUND.values(), ids=UNSOUND.keys())
def test_what_is_not_sound_is_refused_with_the_reason(wiring, words):
    with pytest.raises(ValueError, match=words):
        connected(**wiring)


def test_a_column_without_a_matrix_is_refused_with_what_a_pad_may_be_on():
    with pytest.raises(ValueError, match=r"'1-01', and the bench has no matrix; .*wired to a channel such as smu.smua"):
        connected((), **{**BY_WIRE, "pads": {"r0": "1-01", "c0": "ground"}})


def test_with_two_matrices_a_column_names_its_own():
    with pytest.raises(
        ValueError,
        match=r"pad r0 is on matrix column '1-01', which .*: expected left or right before a dot, such as left\.1-01",
    ):
        connected(("left", "right"), channels={"smu.a": "left.A"})


def test_a_line_that_no_source_reaches_is_refused():
    pads = {"r0": "left.1-01", "c0": "right.1-01"}
    with pytest.raises(ValueError, match=r"pad c0, a line of a kernel, is on right\.1-01, where neither"):
        connected(("left", "right"), channels={"smu.a": "left.A", "smu.b": "left.B"}, pads=pads, **ONE_CELL)
