"""A plausible night is drawn by its seed from one table, which the document shows."""

import re
from collections import Counter
from pathlib import Path

import pytest

from labctl.core.planned_fault import ON_THE_WAY, InjectedFaults
from sim_backend.faults.dies import CONTACT_LOST, MADE, NO_ANSWER, NO_CONTACT
from sim_backend.faults.typical import LIBRARY, MOST_MESSAGES, TABLE, draw

DIES = {"A": 30, "B": 60, "C": 10}
INSTRUMENTS = {"smu1": "source", "smu2": "source", "matrix": "matrix", "prober": "prober"}
PULSED = {"smu": "source", "pulser": "pulse source"}
BEHIND = {"board": LIBRARY}
NIGHTS = 400


@pytest.mark.parametrize("instruments", [INSTRUMENTS, None], ids=["twin", "simulated dies"])
def test_the_same_seed_draws_the_same_faults_and_another_one_others(instruments):
    assert draw(DIES, instruments, 7) == draw(DIES, instruments, 7)
    assert len({draw(DIES, instruments, seed) for seed in range(40)}) > 20


def test_a_night_is_numbered_in_the_order_of_its_dies_and_comes_back_from_json():
    faults = draw(DIES, INSTRUMENTS, 1)
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))
    assert [fault.die for fault in faults] == sorted(fault.die for fault in faults)
    night = InjectedFaults("typical", 1, faults)
    assert InjectedFaults.of(night.plain()) == night
    assert night.of_die("B") == tuple(fault for fault in faults if fault.die == "B")


def test_every_kind_comes_as_often_as_the_table_says_where_it_can_happen():
    for instruments in (INSTRUMENTS, PULSED, BEHIND, {}, None):
        faults = [fault for seed in range(NIGHTS) for fault in draw(DIES, instruments, seed)]
        counts = Counter(fault.kind for fault in faults)
        for typical in TABLE:
            expected = NIGHTS * typical.rate * (len(DIES) if typical.per_die else 1)
            possible = set(typical.at) & set((instruments or {}).values()) or typical.kind in MADE
            if possible or (instruments is None and typical.kind in (NO_CONTACT, CONTACT_LOST, NO_ANSWER)):
                assert counts[typical.kind] == pytest.approx(expected, abs=5 * expected**0.5), typical.kind
            else:
                assert not counts[typical.kind], typical.kind
        assert {fault.instrument for fault in faults} == ({""} | set(instruments or {}))
        for fault in faults:
            assert ON_THE_WAY <= fault.operation < DIES[fault.die]
            assert 0 <= fault.after < MOST_MESSAGES
            assert fault.instrument != "prober" or fault.operation == ON_THE_WAY
        made = Counter((seed, f.die) for seed in range(NIGHTS) for f in draw(DIES, instruments, seed) if f.kind in MADE)
        assert max(made.values()) == 1


def test_the_document_shows_the_table():
    text = (Path(__file__).parents[4] / "docs" / "overnight.md").read_text(encoding="utf-8")
    row = r"^\| (.+?) \| .+? \| ([\d.]+) a (night|die) \| (.+) \|$"
    rows = re.findall(row, text.partition("<!-- faults -->")[2], re.M)
    assert rows == [(t.kind, f"{t.rate:g}", "die" if t.per_die else "night", t.why) for t in TABLE]
