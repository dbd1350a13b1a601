"""The pace of what looks at a run: the share of the processor that it may take, in the long run."""

import pytest

from labctl.report.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.spent = 0.0

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.spent += seconds


def paced(clock: Clock, share: float, least: float = 0.0) -> Pace:
    return Pace(share, least, lambda: clock.now, lambda: clock.spent)


def test_work_takes_no_more_than_its_share_however_often_it_is_asked_for() -> None:
    clock = Clock()
    pace = paced(clock, 0.01)
    times = 0
    while clock.now < 1000:
        if pace.due:
            times += 1
            with pace.work():
                clock.work(0.05 if times % 2 else 0.2)
        clock.now += 0.1
    assert times > 50
    assert clock.spent <= 0.01 * 1000 + 0.2


def test_cheap_work_is_done_no_more_often_than_every_so_many_seconds() -> None:
    clock = Clock()
    pace = paced(clock, 0.5, 2.0)
    assert pace.due
    with pace.work():
        pass
    clock.now = 1.9
    assert not pace.due
    clock.now = 2.0
    assert pace.due


def test_work_that_fails_has_cost_what_it_has_cost() -> None:
    clock = Clock()
    pace = paced(clock, 0.1)

    def fail() -> None:
        with pace.work():
            clock.work(1.0)
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
    clock.now = 10.9
    assert not pace.due
    clock.now = 11.0
    assert pace.due


def test_what_has_a_pace_of_its_own_does_not_count() -> None:
    clock = Clock()
    look, read = paced(clock, 0.1), paced(clock, 0.01)
    with look.work():
        clock.work(0.5)
        with read.work():
            clock.work(2.0)
    clock.now = 2.5 + 4.9
    assert (look.due, read.due) == (False, False)
    clock.now = 2.5 + 5.0
    assert (look.due, read.due) == (True, False)
    clock.now = 2.5 + 200.0
    assert read.due
