"""The fault harness: what it injects happens, what must hold is noticed where it does not, and results go on."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from faults import inject as script
from faults.benches import BENCHES
from faults.campaign import carry_out
from faults.invariants import INVARIANTS, UNNOTICED, unnoticed, violated
from faults.kinds import KINDS, LASTING, Injection
from faults.positions import (
    FIRST,
    OF_LINK,
    OF_REPLY,
    Everywhere,
    Planned,
    applies,
    aspect_of,
    middle_of,
    positions_of,
)  # fmt: skip
from faults.timeline import Timeline

from labctl.core.die_state import State
from labctl.core.errors import InstrumentError, LinkTimeoutError


@pytest.fixture(scope="module")
def undisturbed():
    return carry_out(Injection())


def test_the_undisturbed_run_is_good_and_says_nothing(undisturbed):
    assert {name: (die.state, die.bin) for name, die in undisturbed.dies.items()} == {
        "D0": (State.DONE, "good"),
        "D1": (State.DONE, "good"),
    }
    assert not undisturbed.told
    assert violated(undisturbed, undisturbed) == {}
    assert undisturbed.injection.messages > 1000
    assert undisturbed.dies["D0"].columns["survey.g_p"].shape == (1, 3, 4)


LIKE_THE_FIRST = ("in instrument", "joined", "standing", "two matrices")
"""Benches with the station of the first, on which the next die after a fault is the same; one die is measured here."""


@pytest.mark.parametrize("bench", list(BENCHES)[1:])
def test_every_other_bench_is_sound_without_a_fault_and_holds_with_one_in_a_survey(bench, monkeypatch):
    if bench in LIKE_THE_FIRST:
        monkeypatch.setitem(BENCHES, bench, replace(BENCHES[bench], dies=1))
    sound = carry_out(Injection(), bench)
    assert {die.state for die in sound.dies.values()} == {State.DONE}
    assert (sound.told, violated(sound, sound)) == ([], {})
    trail = sound.injection.trail
    kinds = {
        "reply lost",
        "output trips off",
        "busy",
        "killed after",
        "converter dead",
        "line stuck",
        "another version",
    } & {*BENCHES[bench].kinds}
    planned = [Planned(kind, middle_of(trail, "survey"), bench=bench) for kind in sorted(kinds)]
    results = [script.inject(one, sound) for one in planned]
    assert [one["violated"] for one in results if one["violated"]] == []
    assert {one["kind"] for one in results if one["happened"]} >= kinds - {"busy"}


@pytest.mark.parametrize(
    ("kind", "at", "codes"),
    [
        ("busy", 430, {3}),
        ("gone", 968, {6}),
        ("needles lift", 394, {3}),
        ("output trips off", 939, {3}),
        ("killed after", 242, set()),
    ],
)
def test_a_fault_happens_and_all_holds(undisturbed, kind, at, codes):
    course = carry_out(Injection(kind, at))
    assert course.injection.happened
    assert violated(course, undisturbed) == {}
    assert {code for code, _ in course.told} >= codes


def test_the_same_injection_has_the_same_course(undisturbed):
    one, two = (script.inject(Planned("power cycle, link lost", 455), undisturbed) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("kind", ["every number NaN", "every number 9.91e37"])
def test_a_height_that_is_no_number_costs_no_die_its_contact(undisturbed, kind):
    trail = undisturbed.injection.trail
    at = next(n for n, sent in enumerate(trail, 1) if b"chuck_z" in sent.message and sent.phase == "network")
    result = script.inject(Planned(kind, at), undisturbed)
    assert (result["happened"], result["violated"]) == (True, {})
    assert "'get_chuck_z Z' was answered by" in result["told"][0][1]


def spoilt(course, **changes):
    """Return a copy of a course with another die D1."""
    columns = {name: values.copy() for name, values in course.dies["D1"].columns.items()}
    return replace(course, dies=course.dies | {"D1": replace(course.dies["D1"], columns=columns, **changes)}), columns


def told(course):
    """Return a course of which somebody was told."""
    return replace(course, told=[(3, "smu1: a script failed; look at its cable")])


def test_every_invariant_is_violated_by_what_it_forbids(undisturbed):
    wrong = {}
    wrong["is_no_bug"] = replace(undisturbed, bugs=["Traceback\nZeroDivisionError"])
    wrong["ends"] = replace(undisturbed, injection=Injection())
    wrong["ends"].injection.messages = 10**6
    wrong["nothing_unsafe"] = replace(undisturbed, incidents=["hot switch: A to 1-05"])
    wrong["within_limits"] = replace(undisturbed, peak=0.57)
    wrong["live_is_told"] = replace(undisturbed, untold=["smu1.smua is on after exit code 4: interrupted"])
    wrong["words_help"] = replace(undisturbed, told=[(3, "the reply '0' is not a list of numbers; look at it")])
    wrong["off_soon"] = replace(undisturbed, late=["smu1.smua was off 1.10 s after a fault was detected"])
    wrong["journal_is_kept"], _ = spoilt(undisturbed, lost_rows=1)
    wrong["dies_come_to_the_same_end"], columns = spoilt(undisturbed)
    columns["readback.state"] ^= np.array([True])
    wrong["is_told_or_harmless"], columns = spoilt(undisturbed)
    columns["survey.g_p"][0, 2, 3] *= 1.5
    wrong["is_measured_alike"] = told(wrong["is_told_or_harmless"])
    assert wrong.keys() == {check.__name__ for check in INVARIANTS}
    for name, course in wrong.items():
        assert name in violated(course, undisturbed), name


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("smu1: a script failed; look at its cable", ""),
        ("r0: no contact; look whether needles touch", ""),
        ("smu11: a script failed; look at its cable", "an instrument"),
        ("smu1 is gone; check that it is on", "an operation"),
        ("smu1: a script failed", "what to do"),
        ("the reply is wrong\nTraceback: smu1 'x'; look at its cable", "an instrument and an operation and what to do"),
    ],
)
def test_words_name_instrument_operation_and_what_to_do(undisturbed, text, missing):
    words = violated(replace(undisturbed, told=[(3, text)]), undisturbed).get("words_help", "")
    assert words.startswith(f"without {missing}: ") if missing else not words
    assert violated(replace(undisturbed, told=[(4, text)]), undisturbed) == {}


def test_a_pulse_that_was_lost_may_count_once_more_and_another_may_not(undisturbed):
    course, columns = spoilt(told(undisturbed))
    course.dies["D1"].counts = course.dies["D1"].counts.copy()
    cell = tuple(columns[f"attempt.{part}"][7] for part in ("kernel", "row", "col"))
    course.dies["D1"].counts[cell] += 1
    assert violated(course, undisturbed).keys() == {"is_measured_alike"}
    columns["attempt.pulse_flag"][7] = 8  # unknown: its result was lost
    assert violated(course, undisturbed) == {}
    course.dies["D1"].counts[cell] += 1
    assert violated(course, undisturbed).keys() == {"is_measured_alike"}


def test_how_a_die_was_found_may_differ_in_another_try_only(undisturbed):
    course, columns = spoilt(told(undisturbed))
    columns["survey.g_initial"][0, 2, 3] *= 2
    assert violated(course, undisturbed).keys() == {"is_measured_alike"}
    course.dies["D1"].try_no = 2
    assert violated(course, undisturbed) == {}


def test_outputs_have_a_second_and_those_whose_link_does_not_answer_their_patience():
    clock = [0.0]
    timeline = Timeline(lambda: clock[0])
    timeline.outputs({"smu1.smua", "smu2.smua", "smu3.smua"})
    error = InstrumentError("smu1: no numbers")
    timeline.arose(error)
    timeline.arose(LinkTimeoutError("smu2 did not answer"))
    timeline.caught(error)
    clock[0] = 1.5
    timeline.outputs({"smu3.smua"})
    assert timeline.late(0, dict.fromkeys(("smu1", "smu2", "smu3"), 10.0)) == [
        "smu1.smua was off 1.50 s after a fault was detected, 1 s allowed"
    ]
    assert timeline.late(0, {"smu1": 10.0, "smu2": 0.2, "smu3": 10.0})[1:] == [
        "smu2.smua was off 1.50 s after a fault was detected, 1.2 s allowed"
    ]


def test_an_error_that_is_its_own_cause_is_caught_once():
    timeline = Timeline(lambda: 2.0)
    first, second = InstrumentError("smu1: no numbers"), InstrumentError("smu1: lost")
    first.__cause__, second.__cause__ = second, first
    timeline.arose(second)
    timeline.caught(first)
    assert timeline.detections == [second.moment]


def test_a_fight_or_a_hot_touch_is_excused_only_where_it_is_the_fault(undisturbed):
    touched = replace(undisturbed, incidents=["hot touch: pads left at 0.1 V"])
    assert "nothing_unsafe" in violated(touched, undisturbed)
    assert violated(replace(touched, injection=replaced_kind(undisturbed, "needles lift")), undisturbed) == {}


def test_what_goes_unnoticed_is_counted_and_bounded_by_one_reading(undisturbed):
    assert UNNOTICED.keys() < KINDS.keys()
    for kind in UNNOTICED:
        course, columns = spoilt(replace(undisturbed, injection=replaced_kind(undisturbed, kind), peak=0.6))
        columns["readback.state"][3] ^= True
        columns["survey.g_p"][0, columns["readback.row"][3], columns["readback.col"][3]] *= 3
        assert violated(course, undisturbed).keys() == {"within_limits"}
        assert unnoticed(course, undisturbed) == {"D1": "readback.state, survey.g_p"}
        columns["readback.state"][4] ^= True
        assert violated(course, undisturbed).keys() == {"within_limits", "is_told_or_harmless"}
        course, columns = spoilt(replace(undisturbed, injection=replaced_kind(undisturbed, kind)))
        columns["layer_current.tuned"][0, 1, 2] *= 3
        assert violated(course, undisturbed) == {}
        columns["layer_current.tuned"][0, 2, 2] *= 3
        assert violated(course, undisturbed) == {}, "the other sample of the same column"
        columns["layer_current.tuned"][0, 2, 1] *= 3
        assert violated(course, undisturbed).keys() == {"is_told_or_harmless"}


def replaced_kind(course, kind):
    injection = Injection(kind)
    injection.messages = course.injection.messages
    return injection


def test_every_kind_comes_at_least_four_times_in_200_and_a_longer_list_begins_with_a_shorter():
    planned = script.planned(200, 1241, 0)
    assert len(set(planned)) == 200
    counts = [sum(kind == one.kind for one in planned) for kind in KINDS]
    assert min(counts) >= 4
    assert set(LASTING) < KINDS.keys()
    assert script.planned(300, 1241, 0)[:200] == planned
    assert script.planned(200, 1241, 1) != planned


def test_every_kind_is_planned_once_or_twice_at_every_kind_of_moment_at_which_it_can_happen(undisturbed):
    trail = undisturbed.injection.trail
    assert {*OF_LINK, *OF_REPLY} < KINDS.keys()
    for kind in KINDS:
        positions = positions_of(trail, kind)
        numbers = sorted(number for some in positions.values() for number in some)
        assert numbers == [number for number, sent in enumerate(trail, 1) if applies(kind, sent)]
        assert 3 < len(positions) < 200
    everywhere, again = (Everywhere(("busy", "a setting ignored"), 0).planned(trail) for _ in range(2))
    assert everywhere == again
    assert len(set(everywhere)) == len(everywhere)
    for kind in ("busy", "a setting ignored"):
        planned = {one.at for one in everywhere if one.kind == kind}
        for numbers in positions_of(trail, kind).values():
            assert numbers[0] in planned
            assert len(planned & set(numbers)) == min(2, len(numbers))


def test_moments_differ_in_instrument_phase_outputs_and_what_matters_of_the_message(undisturbed):
    trail = undisturbed.injection.trail
    lost, ignored = (positions_of(trail, kind) for kind in ("reply lost", "a setting ignored"))
    assert {moment[0] for moment in lost} == {"K2600", "K707", "Sentio"}
    stuck = positions_of(trail, "relays stuck")
    assert {moment[0] for moment in stuck} == {"K707"}
    assert all(b"channel.open(" in moment[2] or b"channel.close(" in moment[2] for moment in stuck)
    assert {moment[3] for moment in lost} == {"opening", "approach", "contact check", "stage", "leaving"}
    assert {moment[4] for moment in lost} == {True, False}
    assert len({moment[2] for moment in ignored}) > len({moment[2] for moment in lost if moment[0] == "K2600"})
    two = b"smua.measure.nplc=1\nprint(errorqueue.count)\n", b"smua.source.highc=0\nprint(errorqueue.count)\n"
    assert len({aspect_of(message, "reply lost") for message in two}) == 1
    assert len({aspect_of(message, "garbage") for message in two}) == 1
    assert len({aspect_of(message, "power cycle, unnoticed") for message in two}) == 2


def test_the_other_message_is_one_of_another_stage_where_there_is_one(undisturbed):
    trail = undisturbed.injection.trail
    planned = {one.at for one in Everywhere(("reply lost",), 0).planned(trail)}
    both = 0
    for numbers in positions_of(trail, "reply lost").values():
        stages = {trail[number - 1].phase for number in numbers}
        if {"survey", "network"} <= stages:
            both += 1
            assert {trail[number - 1].phase for number in planned & set(numbers)} == {"survey", "network"}
    assert both > 3


def test_a_bench_adds_only_moments_that_those_before_have_not_had(undisturbed):
    trail = undisturbed.injection.trail
    everywhere = Everywhere(("reply lost", "relays stuck"), 0)
    assert everywhere.planned(trail)
    assert everywhere.planned(trail, "again") == []
    other = script.undisturbed_on("2400").injection.trail
    assert {one.bench for one in everywhere.planned(other, "2400")} == {"2400"}
    had = {}
    assert Everywhere(("reply lost",), 0, had).planned(trail)
    assert {one.kind for one in Everywhere(("reply lost", "busy"), 0, had).planned(trail)} == {"busy"}


def test_every_fifth_is_a_second_fault_at_a_message_that_makes_safe_or_opens_again():
    bench, undisturbed = "7001", script.undisturbed_on("7001")  # a source over a matrix, and a die of 2 x 2 cells
    trail = undisturbed.injection.trail
    second = script.planned_after(Everywhere(BENCHES[bench].kinds, 0), trail, bench)
    assert {one.first for one in second} == set(FIRST)
    usual = script.planned(40, len(trail), 0, bench=bench)
    mixed = script.mixed(usual, second)
    assert [one for one in mixed if one.first] == second[:8]
    assert [one for one in mixed if not one.first] == [one for k, one in enumerate(usual) if (k + 1) % 5]
    results = [script.inject(one, undisturbed) for one in second[:3]]
    assert {one["phase"] for one in results if one["happened"]} <= {"making safe", "reopening", "survey"}
    assert any(one["happened"] for one in results)
    assert not any(one["violated"] for one in results)


def test_a_fault_that_is_to_happen_to_one_message_happens_to_no_other(undisturbed):
    trail = undisturbed.injection.trail
    prober = next(n for n, sent in enumerate(trail, 1) if sent.instrument == "prober")
    relays = next(n for n, sent in enumerate(trail, 1) if b"channel.close" in sent.message)
    missed = script.inject(Planned("relays stuck", prober, only=True), undisturbed)
    assert (missed["happened"], missed["told"], missed["violated"]) == (False, [], {})
    assert missed["messages"] < len(trail) / 2
    result = script.inject(Planned("error queued before", relays, only=True), undisturbed)
    assert (result["happened"], result["instrument"]) == (True, "matrix")
    assert not result["violated"]


def test_a_later_call_goes_on_from_the_results(undisturbed, tmp_path):
    calls, path = [], tmp_path / "faults.jsonl"

    def do(left):
        calls.append(left)
        return (script.inject(one, undisturbed) for one in left)

    wanted = script.planned(2, undisturbed.injection.messages, 0)
    first = script.carry_on(wanted[:1], path, do)
    with path.open("a") as file:
        file.write('{"kind": "busy", ')  # the call was killed while it wrote
    again = script.carry_on(wanted, path, do)
    assert again[:1] == [json.loads(line) for line in path.read_text().splitlines()][:1] == first
    assert calls == [wanted[:1], wanted[1:]]
    assert len(path.read_text().splitlines()) == 2
    assert not any(one["violated"] for one in again)
    lines = script.table(again)
    assert len(lines) == len(KINDS) + 3
    tried = sum(one["happened"] for one in again)
    assert lines[len(KINDS) + 1].split() == [
        *("all", str(tried), str(tried)), *lines[-2].split()[3:8], f"{tried}/{tried}", *["0/0"] * (len(BENCHES) - 1)
    ]  # fmt: skip


def test_a_violation_is_shown_with_what_repeats_it(undisturbed):
    shown = []
    for planned in (Planned("busy", 7), Planned("busy", 8, only=True, first="^C after", first_at=3, of="smu2")):
        result = {**asdict(planned), "instrument": "smu1", "violated": {"ends": "24000 messages"}}
        script.carry_on([planned], None, lambda left, result=result: [result], shown.append)
    assert shown == [
        '--bench "matrix" --kind "busy" --at 7 (smu1): ends: 24000 messages',
        '--bench "matrix" --kind "busy" --at 8 --only --first "^C after" --first-at 3 --of smu2 (smu1): '
        "ends: 24000 messages",
    ]


@pytest.mark.parametrize(
    ("happened", "told", "unnoticed", "violated", "columns"),
    [
        (True, [[3, "x"]], {}, {}, {"tried", "survived", "told"}),
        (True, [], {}, {}, {"tried", "survived", "harmless"}),
        (True, [], {"D0": "x"}, {}, {"tried", "survived", "unnoticed"}),
        (True, [[3, "x"]], {}, {"ends": "x"}, {"tried", "violated"}),
        (False, [], {}, {}, {"not met"}),
    ],
)
def test_a_result_counts_as_tried_if_it_happened_and_as_survived_if_all_held(
    happened, told, unnoticed, violated, columns
):
    one = {"happened": happened, "told": told, "unnoticed": unnoticed, "violated": violated}
    assert set(script.fates_of(one)) == columns
