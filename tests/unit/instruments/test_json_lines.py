"""Every message of a generic instrument is answered by its own reply, or the driver says what came instead."""

import pytest

from instruments.json_lines import JsonLines
from instruments.transcript import TranscriptReplay
from labctl.core.errors import BenchError, InstrumentError


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("OK", "was answered by 'OK'; expected a line of JSON"),
        ('{"id": 2, "reply": 5}', "expected an answer to message 1"),
        ("[1]", "expected an answer to message 1"),
        ('{"id": 1, "refused": "3 V is beyond the setup"}', "m refused '.*': 3 V is beyond the setup; 'labctl check'"),
    ],
)
def test_a_reply_that_is_none_is_an_error(reply, words):
    talk = [(">", '{"do": "state", "id": 1}'), ("<", reply)]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=words):
        JsonLines(wire, "m").ask("state", object)


def test_an_identity_of_something_else_is_refused():
    words = "m: 'mtj-labctl,matrix,generic,1' answers where a generic source was expected"
    talk = [(">", "*IDN?"), ("<", "mtj-labctl,matrix,generic,1")]
    with TranscriptReplay(talk) as wire, pytest.raises(BenchError, match=words):
        JsonLines(wire, "m").identity("source")


def test_the_reply_of_the_second_message_is_found_behind_that_of_the_first():
    talk = [
        (">", '{"do": "abort", "id": 1}\n{"do": "aborted", "id": 2}'),
        ("<", '{"id": 1, "reply": null}'),
        ("<", '{"id": 2, "reply": [1, 2, 3]}'),
    ]
    with TranscriptReplay(talk) as wire:
        assert JsonLines(wire, "m").cut_in("abort", "aborted", list[int]) == [1, 2, 3]


def test_closing_ends_the_conversation():
    class Wire(TranscriptReplay):
        closed = False

        def close(self):
            self.closed = True

    with Wire([]) as wire:
        JsonLines(wire, "smu").close()
    assert wire.closed
