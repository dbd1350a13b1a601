"""A person is asked only when the outputs are off, and believed only when asked."""

import pytest

from instruments.manual_prober import ManualProber
from labctl.core.errors import ContactError, InstrumentError
from labctl.core.prober import Position, Prober, Subsite


def made(answers, permit=lambda: None):
    questions = []

    def ask(sentence):
        questions.append(sentence)
        return answers.pop(0)

    return ManualProber(ask, "probes", permit), questions


def test_a_die_is_reached_with_needles_up_and_then_touched():
    prober, questions = made([True, True, True])
    assert isinstance(prober, Prober)
    assert prober.step(3, 5) == Position(3, 5)
    prober.contact()
    assert prober.in_contact()
    assert not prober.separated()
    assert [sentence.split()[0] for sentence in questions] == ["Lift", "Move", "Lower"]
    assert "column 3, row 5" in questions[1]


def test_what_is_so_already_is_not_asked_again():
    prober, questions = made([True, True, True])
    prober.step(3, 5)
    prober.step(3, 5)
    prober.contact()
    prober.contact()
    assert len(questions) == 3


def test_another_subsite_is_another_place_to_go_to():
    prober, questions = made([True, True, True])
    prober.step(3, 5)
    prober.step(3, 5, Subsite("b", 1, 250e-6, -120e-6))
    assert "column 3, row 5, subsite b at (250, -120) um, needles up" in questions[-1]


def test_no_answer_but_yes_counts():
    prober, _ = made([False])
    with pytest.raises(ContactError, match="not confirmed: Lift"):
        prober.separate()


def test_an_unfinished_motion_leaves_nobody_sure():
    prober, questions = made([True, False, False])
    prober.separate()
    with pytest.raises(ContactError):
        prober.contact()
    assert not prober.in_contact()
    assert len(questions) == 3


def test_connecting_asks_nothing_and_state_is_asked_when_it_matters():
    prober, questions = made([True])
    prober.connect()
    assert not questions
    assert prober.in_contact()
    assert prober.in_contact()
    assert len(questions) == 1


@pytest.mark.parametrize("move", ["contact", "separate"])
def test_nobody_is_asked_to_move_while_an_output_may_be_on(move):
    def on():
        raise InstrumentError("smua is on")

    prober, questions = made([True], on)
    with pytest.raises(InstrumentError, match="smua is on"):
        getattr(prober, move)()
    assert not questions


@pytest.mark.parametrize("answer", [True, False])
def test_whether_needles_are_up_is_asked_if_nobody_has_said_it(answer):
    prober, questions = made([answer, False])
    assert prober.separated() is answer
    assert questions == ["Are the needles up, clear of the pads?"]
    assert not prober.in_contact()


def test_closing_asks_and_moves_nothing():
    prober, questions = made([])
    prober.close()
    assert not questions
