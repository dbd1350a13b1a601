"""Every command of the generic matrix against transcripts."""

import json

import pytest

from instruments.generic_matrix import GenericMatrix
from instruments.transcript import TranscriptReplay
from labctl.core.errors import InstrumentError
from labctl.core.switch_matrix import Matrix


def matrix(*exchanges, permit=lambda: None):
    talk = []
    for number, (verb, fields, reply) in enumerate(exchanges, 1):
        talk += [(">", json.dumps({"do": verb, "id": number, **fields}))]
        talk += [("<", json.dumps({"id": number, "reply": reply}))]
    wire = TranscriptReplay(talk)
    return GenericMatrix(wire, "matrix", permit), wire


def test_nothing_moves_where_nothing_has_to():
    def hot():
        raise InstrumentError("smua is at 0.3 V")

    made, wire = matrix(("closed", {}, ["1A01", "1B02"]), permit=hot)
    assert isinstance(made, Matrix)
    with wire:
        made.route(["1B02", "1A01"])
    made, wire = matrix(("closed", {}, ["1A01"]), permit=hot)
    with wire, pytest.raises(InstrumentError, match=r"0\.3 V"):
        made.route([])


def test_a_route_is_read_back():
    made, wire = matrix(("closed", {}, []), ("route", {"closed": ["1A01", "2B03"]}, ["1A01", "2B03"]))
    with wire:
        made.route(["2B03", "1A01"])
    made, wire = matrix(("closed", {}, []), ("route", {"closed": ["1A01"]}, []))
    with wire, pytest.raises(InstrumentError, match=r"\[\] are closed; \['1A01'\] were expected"):
        made.route(["1A01"])


@pytest.mark.parametrize("now", [[], ["1A01"]])
def test_in_an_emergency_opening_is_the_first_message_and_is_verified(now):
    talk = [
        (">", '{"do": "open", "id": 1}\n{"do": "opened", "id": 2}'),
        ("<", '{"id": 1, "reply": null}'),
        ("<", json.dumps({"id": 2, "reply": {"now": now, "before": ["1A01", "1B02"]}})),
    ]
    with TranscriptReplay(talk) as wire:
        made = GenericMatrix(wire, "matrix")
        if now:
            with pytest.raises(InstrumentError, match="1 relays are still closed"):
                made.emergency_open()
        else:
            assert made.emergency_open() == {"1A01", "1B02"}


@pytest.mark.parametrize("reply", [None, 3, "1A01", {}, [1, 2], [["1A01"]]])
def test_an_answer_of_another_form_is_an_error_with_the_name_of_the_instrument(reply):
    made, wire = matrix(("closed", {}, reply))
    with wire, pytest.raises(InstrumentError, match=r"matrix: .* was answered by .*expected an answer to it"):
        made.closed()
