"""The page of judges names exactly those that exist."""

from itertools import chain

from tests.golden import table


def test_every_judge_is_in_the_table_and_nothing_else():
    assert sorted(table.JUDGES) == sorted(path.name for path in table.HERE.glob("test_judge_*.py"))
    rows = [
        (judge.family, table.scenario(test))
        for file, judge in table.JUDGES.items()
        for test in table.judged_in(table.HERE / file)
    ]
    assert table.listed(table.PAGE.read_text(encoding="utf-8")) == rows
    assert len(rows) > 50


def test_a_disagreement_is_of_a_test_that_exists_and_every_test_has_its_client():
    for file, judge in table.JUDGES.items():
        tests = table.judged_in(table.HERE / file)
        assert set(judge.disagreements) <= set(tests)
        for test in tests:
            assert any(test.startswith(begin) for begin in judge.clients), (file, test)


def test_cases_and_exchanges_are_counted():
    counted = table.Counted()

    class Report:
        def __init__(self, case, when="call", outcome="passed", **properties):
            self.nodeid, self.when, self.user_properties = (
                f"golden/test_judge_x.py::{case}",
                when,
                [*properties.items()],
            )
            self.passed, self.failed, self.skipped = (outcome == o for o in ("passed", "failed", "skipped"))

    reports = [
        Report("test_a[1]", "setup"), Report("test_a[1]"), Report("test_a[2]", outcome="failed"),
        Report("test_b", tried=89, accepted=83), Report("test_c", "setup", "skipped"),
    ]  # fmt: skip
    for report in reports:
        counted.pytest_runtest_logreport(report)
    keys = [("test_judge_x.py", test) for test in ("test_a", "test_b")]
    assert list(chain.from_iterable((counted.tried[k], counted.accepted[k]) for k in keys)) == [2, 1, 89, 83]
    assert ("test_judge_x.py", "test_c") not in counted.tried
