"""Every command of the generic prober against transcripts."""

import json

import pytest

from instruments.generic_prober import GenericProber
from instruments.transcript import TranscriptReplay
from labctl.core.errors import InstrumentError
from labctl.core.prober import Prober, Subsite


def at(col, row, site=0, contact=False, last=False):
    return {"place": [col, row, site], "contact": contact, "last": last}


def prober(*exchanges, permit=lambda: None):
    talk = []
    for number, (verb, fields, reply) in enumerate(exchanges, 1):
        talk += [(">", json.dumps({"do": verb, "id": number, **fields}))]
        talk += [("<", json.dumps({"id": number, "reply": reply}))]
    wire = TranscriptReplay(talk)
    return GenericProber(wire, "prober", permit), wire


def where(*place, **more):
    return ("where", {}, at(*place, **more))


def test_a_step_begins_with_a_separation_and_is_verified():
    calls = []
    made, wire = prober(
        where(0, 0, contact=True),
        ("separate", {}, None),
        where(0, 0),
        where(0, 0),
        ("step", {"place": [3, 1, 2]}, at(3, 1, 2, last=True)),
        where(3, 1, 2),
        permit=lambda: calls.append("off?"),
    )
    assert isinstance(made, Prober)
    with wire:
        position = made.step(3, 1, Subsite("s", 2, 0.0, 0.0))
        assert made.separated()
    assert (position.col, position.row, position.end_of_route) == (3, 1, True)
    assert calls == ["off?", "off?"]


def test_a_step_that_ends_elsewhere_is_an_error():
    made, wire = prober(where(0, 0), where(0, 0), where(0, 0), ("step", {"place": [3, 1, 0]}, at(2, 1)))
    with wire, pytest.raises(InstrumentError, match=r"prober stands at .*\[3, 1, 0\], separated, was expected"):
        made.step(3, 1)


@pytest.mark.parametrize(("verb", "down"), [("contact", True), ("separate", False)])
def test_needles_that_do_not_move_are_told(verb, down):
    made, wire = prober(where(0, 0, contact=not down), (verb, {}, None), where(0, 0, contact=not down))
    with wire, pytest.raises(InstrumentError, match=f"the needles are {'up' if down else 'down'} after '{verb}'"):
        getattr(made, verb)()


def test_nothing_moves_unless_the_permit_lets_it_or_it_is_there_already():
    def live():
        raise InstrumentError("smua is on")

    made, wire = prober(where(0, 0), permit=live)
    with wire, pytest.raises(InstrumentError, match="smua is on"):
        made.contact()
    made, wire = prober(where(0, 0, contact=True), where(0, 0, contact=True), permit=live)
    with wire:
        made.contact()
        assert not made.separated()


def test_needles_that_are_up_without_a_command_do_not_count_as_separated():
    made, wire = prober(where(0, 0))
    with wire:
        assert not made.separated()
        assert not made.in_contact()


@pytest.mark.parametrize("reply", [None, 3, "up", [], {}, {"place": [0, 0], "contact": True, "last": False}, ["1A01"]])
def test_an_answer_of_another_form_is_an_error_with_the_name_of_the_instrument(reply):
    made, wire = prober(("where", {}, reply))
    with wire, pytest.raises(InstrumentError, match=r"prober: .* was answered by .*expected an answer to it"):
        made.in_contact()
