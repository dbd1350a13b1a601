"""A defect is declared once: every reader takes its name and its marks from there."""

import inspect
import re

from labctl.core.defects import DEFECTS, FABRICATED, Defect
from protocols.figures import SURVEY_FIGURES
from sim_backend.cells import FabricatedDefect
from sim_backend.description import FRACTIONS, Defects


def test_every_defect_has_a_title_a_letter_and_a_marker_of_its_own() -> None:
    assert [int(kind) for kind in DEFECTS] == list(range(1, len(Defect)))
    for marks in ({kind.title for kind in DEFECTS}, {k.letter for k in DEFECTS}, {k.marker for k in DEFECTS}):
        assert len(marks) == len(DEFECTS)
        assert all(marks)
    assert [kind.title.replace(" ", "_").lower() for kind in Defect] == [kind.key for kind in Defect]
    assert all(len(kind.letter) == 1 for kind in DEFECTS)


def test_a_defect_is_its_code() -> None:
    assert Defect(3) is Defect.STUCK_P
    assert Defect.STUCK_P == 3
    assert Defect.STUCK_P.key == "stuck_p"


def test_cells_are_fabricated_with_the_codes_that_a_survey_gives() -> None:
    made = {kind.name: int(kind) for kind in FabricatedDefect}
    assert made == {"NONE": 0, "BROKEN": 6} | {kind.name: int(kind) for kind in FABRICATED}


def test_the_fractions_of_a_die_file_are_those_of_the_fabricated_defects() -> None:
    fractions = Defects(short=0.01, open=0.02, stuck_p=0.03, stuck_ap=0.04, low_tmr=0.05)
    assert fractions.fractions.tolist() == [0.01, 0.02, 0.03, 0.04, 0.05]
    assert set(FRACTIONS) <= set(Defects.model_fields)


def test_every_defect_has_a_test_number() -> None:
    numbers = {figure.key: figure.number for figure in SURVEY_FIGURES}
    assert all(numbers[kind.key] > 0 for kind in DEFECTS)


def test_every_defect_has_a_line_of_text() -> None:
    lines = dict(re.findall(r'^    (\w+) = [^\n]+\n    """([^"\n]+)"""$', inspect.getsource(Defect), re.MULTILINE))
    assert list(lines) == [kind.name for kind in Defect]
