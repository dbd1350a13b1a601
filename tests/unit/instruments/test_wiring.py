"""The text of a wiring: kernels of one shape, pads of their own, and ends of wires."""

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


def test_an_end_of_a_wire_is_a_text_or_a_list_of_them():
    wiring = Wiring.model_validate(changed(channels={"smu1.smua": ["left.A", "right.A"]}, ground=None))
    assert wiring.channels == {"smu1.smua": ("left.A", "right.A")}
    assert wiring.ground == ()
    assert wiring.pads["c2"] == ("2-12",)
    assert wiring.kernels_of() == dict.fromkeys(GOOD["pads"], 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": {"smu1.smua": "A", "smua": "B"}}, "'smua' is not a channel such as smu1.smua"),
        (
            {"channels": {"smu1.smua": []}},
            "channel smu1.smua is on no matrix row; expected one, or the pad that it is wired to",
        ),
        ({"pads": {**GOOD["pads"], "c2": []}}, "pad c2 is wired to nothing; expected a matrix column, a channel or gr"),
        ({"pads": {**GOOD["pads"], "ground": "2-11"}}, "'ground' is no name for a pad"),
        (
            {"pads": {**GOOD["pads"], "c2": 48}},
            "48 is a number, which may have lost its zeros; expected the row or column in q",
        ),
        ({"kernels": [{"rows": ["r0", "r9"], "cols": ["c0"]}]}, "r9 are used by a kernel and not in the list of pads"),
        ({"kernels": [{"rows": ["r0", "r1"], "cols": ["c0", "r1"]}]}, "r1 are used by two lines"),
        (
            {"kernels": [{"rows": ["r0"], "cols": ["c0"]}, {"rows": ["r1"], "cols": ["c1", "c2"]}]},
            "kernels differ in shape: there are 1 x 1 lines and 1 x 2 lines; expected all alike",
        ),
        ({"kernels": [{"rows": ["r0", "r1"], "cols": ["c0"], "gates": ["c1"]}]}, "1 gates for 2 rows"),
        ({"grond": "H"}, "Extra inputs"),
    ],
)
def test_a_text_that_contradicts_itself_is_refused_in_words(change, words):
    with pytest.raises(ValidationError, match=words):
        Wiring.model_validate(changed(**change))


def test_a_die_of_another_shape_or_kind_does_not_fit():
    wiring = Wiring.model_validate(GOOD)
    wiring.fits(Geometry(1, 2, 3))
    with pytest.raises(BenchError, match="1 kernel of 2 x 3 lines; the die has 1 of 3 x 2"):
        wiring.fits(Geometry(1, 3, 2))
    with pytest.raises(BenchError, match="needs gates"):
        wiring.fits(Geometry(1, 2, 3, Kind.ONE_T_ONE_R))
