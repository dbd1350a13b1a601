"""Mutated files: some of every kind are read or refused in words, and the harness notices what it is there for."""

import json
import warnings

import numpy as np
import pytest
from faults import inputs as script
from faults import planning, reading
from faults.reading import KINDS, Course, carry_out

from labctl.core.errors import BenchError, StorageError


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_files_of_every_kind_are_read_or_refused_in_words(kind):
    courses = [carry_out(kind, number) for number in range(2000, 2040)]
    assert [course for course in courses if course.violated] == []
    assert {course.ending for course in courses} == {"read", "refused"}


@pytest.mark.parametrize("kind", ["campaign", "die", "wafer", "bench"])
def test_the_files_that_are_mutated_are_read_before(kind):
    folder = reading.place()
    for text in reading.bases(kind):
        (folder / "whole.yaml").write_text(text)
        (folder / "campaign.yaml").write_text(text)
        assert reading.read(kind, folder / "whole.yaml", None) is not None


def raising(error):
    def read():
        raise error

    return read


def warning():
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


class Stored:
    """What was read, as a run stores it."""

    def __init__(self, text):
        self.text = text

    def to_json(self):
        return {"title": self.text}


@pytest.mark.parametrize(
    ("read", "violated"),
    [
        (lambda: Stored("größer, 90 µm"), ""),
        (raising(BenchError("x.yaml:3: a.b: found 1, expected 2")), ""),
        (raising(BenchError("a.b: found 1, expected 2")), "the message does not name x.yaml"),
        (raising(BenchError("x.yaml:3: a.b")), "does not say what was expected"),
        (raising(BenchError(f"x.yaml: expected {'x' * 30_000}")), "characters"),
        (raising(StorageError("x.yaml: expected another")), "exit code 5"),
        (raising(KeyError("x")), "KeyError: 'x'"),
        (raising(MemoryError()), "MemoryError"),
        (raising(SystemExit(1)), "SystemExit"),
        (lambda: print("x"), "printed: x"),
        (warning, "warning: overflow"),
        (lambda: Stored("a\x1b[2Jb"), "cannot be stored: U+001B"),
        (lambda: Stored("a\ud800b"), "cannot be stored: U+D800"),
    ],
)
def test_what_is_no_reading_and_no_refusal_is_found_out(read, violated):
    course = Course("die", 1)
    reading.judge(course, read, "x.yaml")
    assert (violated in "; ".join(course.violated)) if violated else course.violated == []


def test_a_reading_that_takes_long_is_found_out(monkeypatch):
    times = iter([10.0, 12.5])
    monkeypatch.setattr(reading.time, "process_time", lambda: next(times))
    course = Course("die", 1)
    reading.judge(course, lambda: None, "x.yaml")
    assert course.violated == ["2.5 s of process time, 2 s allowed"]


def test_files_are_a_function_of_kind_and_number():
    for kind in KINDS:
        assert reading.mutated(kind, 7)[1:] == reading.mutated(kind, 7)[1:]
    assert reading.mutated("die", 7)[2] != reading.mutated("die", 8)[2]


def test_half_a_class_and_samples_beyond_all_bounds_are_found_out():
    class Samples:
        x_train = np.array([np.inf])
        y_test = np.array([-1])

    assert list(reading.unstorable(Samples())) == ["x_train has values that are not finite", "y_test is negative"]


def test_a_plan_of_mutated_files_is_made_or_refused():
    courses = [planning.carry_out(number) for number in (3, 8)]
    assert [course for course in courses if course.violated] == []


@pytest.mark.parametrize(
    ("end", "violated"),
    [
        (raising(SystemExit(0)), ""),
        (raising(SystemExit(70)), "exit code 70"),
        (raising(SystemExit(2)), "does not name x.yaml"),
        (raising(ValueError("x")), "ValueError: x"),
        (lambda: print("\x1b[2J"), "U+001B was printed"),
    ],
)
def test_a_command_that_ends_otherwise_is_found_out(monkeypatch, end, violated):
    monkeypatch.setattr(planning.command_line, "main", end)
    course = Course("plan", 1)
    planning.judge(course, ["labctl", "plan"], "x.yaml")
    assert (violated in "; ".join(course.violated)) if violated else course.violated == []


def test_a_later_call_goes_on_from_the_results_and_a_violation_is_shown(tmp_path):
    calls, shown, path = [], [], tmp_path / "inputs.jsonl"

    def do(starts):
        calls.append(starts)
        for kind, number in starts:
            text = ["KeyError: 'x'"] if number == 2 else []
            one = {
                "kind": kind,
                "number": number,
                "mutation": "bytes",
                "ending": "read",
                "violated": text,
                "seconds": 1.5,
            }
            yield one

    wanted = [("npz", number) for number in range(3)]
    script.carry_on(wanted[:2], path, do, shown.append)
    with path.open("a") as file:
        file.write(json.dumps({"kind": "npz"})[:9])  # the call was killed while it wrote
    courses = script.carry_on(wanted, path, do, shown.append)
    assert calls == [wanted[:2], wanted[2:]]
    assert [one["number"] for one in courses] == [0, 1, 2]
    assert shown == ["npz 2, bytes: KeyError: 'x'"]
    heading, line = script.table(courses)
    assert heading.split() == ["kind", "files", "read", "refused", "violated", "slowest"]
    assert line.split() == ["npz", "3", "2", "0", "1", "1.50", "s"]
