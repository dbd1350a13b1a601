"""Wiring that contradicts itself is refused with the names on both ends."""

import pytest
from pydantic import ValidationError

from instruments.wiring import Wiring
from labctl.core.bias import Geometry, Kind
from labctl.core.errors import BenchError

GOOD = {
    "channels": {"smu1.smua": "A", "smu1.smub": "B"},
    "ground": "H",
    "pads": {"r0": "1-01", "r1": "1-02", "c0": "1-03", "c1": "2-01", "c2": "2-12"},
    "kernels": [{"rows": ["r0", "r1"], "cols": ["c0", "c1", "c2"]}],
}


def changed(**changes):
    return {**GOOD, **changes}


def test_crosspoints_are_slot_row_letter_and_two_digit_column():
    wiring = Wiring.model_validate(GOOD)
    assert wiring.crosspoint("r1", 0) == "1A02"
    assert wiring.crosspoint("c2", 1) == "2B12"
    assert wiring.crosspoint("c2", 2) == "2H12"
    table = wiring.table()
    assert table[0][2] == ["1A03", "1B03", "1H03"]
    assert [len(table), len(table[0])] == [1, 5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pads": {**GOOD["pads"], "c2": "2-01"}}, "c1 and c2 are both on matrix column 2-01"),
        ({"channels": {"smu1.smua": "A", "smu1.smub": "A"}}, "smu1.smua and smu1.smub are both on matrix row A"),
        ({"ground": "B"}, "smu1.smub and ground are both on matrix row B"),
        ({"channels": {"smu1.smua": "A", "smu1.smub": "J"}}, "'J' is not the matrix row of smu1.smub"),
        ({"channels": {"smu1.smua": "A", "smua": "B"}}, "'smua' is not a channel such as smu1.smua"),
        ({"pads": {**GOOD["pads"], "c2": "2-13"}}, "'2-13' is not the matrix column of pad c2"),
        ({"pads": {**GOOD["pads"], "c2": "7-01"}}, "'7-01' is not the matrix column of pad c2"),
        ({"kernels": [{"rows": ["r0", "r9"], "cols": ["c0"]}]}, "r9 are used by a kernel and not in the list of pads"),
        ({"kernels": [{"rows": ["r0", "r1"], "cols": ["c0", "r1"]}]}, "r1 are used by two lines"),
        (
            {"kernels": [{"rows": ["r0"], "cols": ["c0"]}, {"rows": ["r1"], "cols": ["c1", "c2"]}]},
            "kernels differ in shape",
        ),
        ({"kernels": [{"rows": ["r0", "r1"], "cols": ["c0"], "gates": ["c1"]}]}, "1 gates for 2 rows"),
        ({"grond": "H"}, "Extra inputs"),
    ],
)
def test_a_conflict_is_refused_with_both_names(change, words):
    with pytest.raises(ValidationError, match=words):
        Wiring.model_validate(changed(**change))


def test_a_die_of_another_shape_or_kind_does_not_fit():
    wiring = Wiring.model_validate(GOOD)
    wiring.fits(Geometry(1, 2, 3))
    with pytest.raises(BenchError, match="1 kernels of 2 x 3 lines; the die has 1 of 3 x 2"):
        wiring.fits(Geometry(1, 3, 2))
    with pytest.raises(BenchError, match="needs gates"):
        wiring.fits(Geometry(1, 2, 3, Kind.ONE_T_ONE_R))


def test_without_a_ground_nothing_is_grounded():
    wiring = Wiring.model_validate(changed(ground=None))
    assert [len(line) for line in wiring.table()[0]] == [2] * 5
    with pytest.raises(BenchError, match="no ground row"):
        wiring.crosspoint("r0", 2)
    with pytest.raises(BenchError, match="pad 'x9'"):
        wiring.crosspoint("x9", 0)
