"""The mutation script: what it changes, that a longer list begins with a shorter, and the fates of mutants."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import mutants

SOURCE = '''"""What a cell sees."""

LIMIT: float = 0.6


def judged(volts: float, worst: bool = False) -> float | None:
    """Return `volts` unless it is beyond."""
    µ = "µ"
    if abs(volts) > LIMIT and not worst:
        raise ValueError(f"{volts} is beyond {LIMIT}" + µ)
    print(µ)
    return volts * 2
'''


def changes() -> list[str]:
    return [mutants.described(SOURCE, one) for one in mutants.mutants_of(SOURCE)]


def test_it_changes_one_thing_at_a_time_and_leaves_types_docstrings_and_messages_alone() -> None:
    assert changes() == [
        "LIMIT: float = 0.6"[15:] + "  ->  (1.2)",
        "False  ->  (True)",
        'µ = "µ"  ->  pass',
        "\"µ\"  ->  ('')",
        "abs(volts) > LIMIT and not worst  ->  (not (abs(volts) > LIMIT and (not worst)))",
        "abs(volts) > LIMIT and not worst  ->  (abs(volts) > LIMIT or not worst)",
        "abs(volts) > LIMIT  ->  (abs(volts) >= LIMIT)",
        "not worst  ->  (worst)",
        'raise ValueError(f"{volts} is beyond {LIMIT}" + µ)  ->  pass',
        "print(µ)  ->  pass",
        "return volts * 2  ->  return None",
        "volts * 2  ->  (volts / 2)",
        "2  ->  (3)",
    ]


def test_every_mutant_is_another_program_of_as_many_lines() -> None:
    texts = [mutants.mutated(SOURCE, one) for one in mutants.mutants_of(SOURCE)]
    assert len({ast.dump(ast.parse(text)) for text in (*texts, SOURCE)}) == len(texts) + 1
    assert {len(text.splitlines()) for text in texts} == {len(SOURCE.splitlines())}


def test_the_mutants_of_real_modules_can_be_compiled() -> None:
    for module in ("instruments/host_timed.py", "labctl/storage/journal.py"):
        source = (mutants.ROOT / module).read_text(encoding="utf-8")
        for one in mutants.mutants_of(source)[::7]:
            ast.parse(mutants.mutated(source, one))


def test_a_longer_list_begins_with_a_shorter_and_another_seed_is_another_list() -> None:
    modules = ["labctl/core/limits.py", "instruments/stepping.py"]
    planned = mutants.planned(modules, 20, 0)
    assert len(set(planned)) == 20
    assert mutants.planned(modules, 30, 0)[:20] == planned
    assert mutants.planned(modules, 20, 1) != planned


def test_a_later_call_goes_on_from_the_results_unless_the_module_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    (tmp_path / "one.py").write_text(SOURCE, encoding="utf-8")
    results, judged, shown = tmp_path / "results.jsonl", [], []

    def judge(module: str, position: int) -> dict[str, Any]:
        judged.append(position)
        fate = "survived" if position == 2 else "killed"
        change = changes()[position]
        return {"module": module, "position": position, "line": 8, "change": change, "fate": fate, "seconds": 0.1}

    mutants.carry_on([("one.py", 1)], results, judge, shown.append)
    mutants.carry_on([("one.py", 1), ("one.py", 2)], results, judge, shown.append)
    assert judged == [1, 2]
    assert shown == ['survived: one.py:8: µ = "µ"  ->  pass']
    assert [json.loads(line)["position"] for line in results.read_text(encoding="utf-8").splitlines()] == [1, 2]
    (tmp_path / "one.py").write_text(SOURCE.replace("False", "None"), encoding="utf-8")
    with pytest.raises(IndexError):
        mutants.carry_on([("one.py", 12)], results, judge, shown.append)
    mutants.carry_on([("one.py", 1)], results, judge, shown.append)
    assert judged == [1, 2, 1]


def test_a_test_is_named_by_the_context_of_its_coverage() -> None:
    name = "tests.house.test_mutants.test_a_test_is_named"
    assert mutants.node_of(name) == "tests/house/test_mutants.py::test_a_test_is_named"
    assert mutants.node_of("tests.house.test_mutants.Box.test_x") == "tests/house/test_mutants.py::Box::test_x"


@pytest.mark.slow
def test_a_mutant_is_killed_survives_hangs_or_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "original"
    (tree / "thing").mkdir(parents=True)
    (tree / "tests" / "unit" / "thing").mkdir(parents=True)
    (tree / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\n')
    source = (
        "def down(n):\n    while n > 0:\n        n -= 1\n    return n\n\n\n"
        "def up(n):\n    return n + 7\n\n\ndef never():\n    return [2]\n"
    )
    (tree / "thing" / "one.py").write_text(source)
    (tree / "tests" / "unit" / "thing" / "test_one.py").write_text(
        "from thing.one import down, up\n\n\ndef test_down():\n    assert down(3) == 0\n\n\n"
        "def test_up():\n    assert up(0) >= 1\n"
    )
    for module in (mutants, sys.modules[mutants.Group.__module__]):
        monkeypatch.setattr(module, "ROOT", tree)
    monkeypatch.setattr(mutants, "GROUPS", {})
    copy, fates = mutants.Copy(tmp_path), {}
    # (fate, time limit): only what hangs meets its limit, so that a busy machine changes no fate
    expected = {
        "n -= 1  ->  pass": ("killed", 1.0),
        "return n  ->  return None": ("killed", 600.0),
        "7  ->  (8)": ("survived", 600.0),
        "return [2]  ->  return None": ("not run", 600.0),
    }
    for position, one in reversed(list(enumerate(mutants.mutants_of(source)))):
        change = mutants.described(source, one)
        if change in expected:
            monkeypatch.setattr(mutants, "LEAST", expected[change][1])
            fates[change] = copy.judge("thing/one.py", position)["fate"]
    assert fates == {change: fate for change, (fate, _) in expected.items()}
    assert (copy.root / "thing" / "one.py").read_text() == source
    assert mutants.group_of("thing/one.py") == mutants.Group(("thing/one.py",), ("tests/unit/thing/test_one*.py",))
