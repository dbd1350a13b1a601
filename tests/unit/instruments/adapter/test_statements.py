import pytest

from instruments.adapter.statements import Statement


class Thing:
    def __init__(self):
        self.level, self.calls = 0.0, []
        self.part = self

    def set(self, *values, **named):
        self.calls.append((values, named))
        return {"current": 1e-6, "status": 12}


@pytest.mark.parametrize(
    ("text", "scope", "value"),
    [
        ("set(volts, range=range_v)['current']", {"volts": 0.5, "range_v": 2}, 1e-6),
        ("set()['status'] & 4", {}, 4),
        ("part.part.level", {}, 0.0),
        ("'%s.%d' % (channel, 3)", {"channel": "smua"}, "smua.3"),
        ("-1 < level <= 0 ", {}, True),
        ("{'normal': 'NORM'}[off_state]", {"off_state": "normal"}, "NORM"),
        ("[1, (2, 3)]", {}, [1, (2, 3)]),
        ("not level", {}, True),
    ],
)
def test_an_expression_has_the_value_that_it_has_in_python(text, scope, value):
    assert Statement(text).carry_out(scope, Thing()) == value


def test_an_assignment_sets_one_attribute_of_the_object_or_of_a_part_of_it():
    thing = Thing()
    assert Statement("level = volts * 2").carry_out({"volts": 0.25}, thing) is None
    assert thing.level == 0.5
    Statement("part.level = -volts").carry_out({"volts": 0.25}, thing)
    assert thing.level == -0.25


def test_a_variable_hides_an_attribute_of_the_same_name():
    assert Statement("level").carry_out({"level": 7}, Thing()) == 7
    assert Statement("set(level)").names == ["level", "set"]


@pytest.mark.parametrize(
    ("text", "sets", "needs"),
    [("level = level", "level", True), ("part.level = 1", "", True), ("level", "", False), ("set(level)", "", True)],
)
def test_what_a_statement_sets_is_the_objects_whatever_a_variable_is_called(text, sets, needs):
    statement = Statement(text)
    assert (statement.sets, statement.needs({"level"})) == (sets, needs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os", "a part that is not carried out: Import"),
        ("lambda: 1", "a part that is not carried out: Lambda"),
        ("[x for x in y]", "a part that is not carried out: ListComp"),
        ("open('f') if x else y", "a part that is not carried out: IfExp"),
        ("a; b", "is 2 statements; write them as a list"),
        ("", "is 0 statements"),
        ("level =", "is no statement"),
        ("a, b = 1, 2", "sets something else than one attribute"),
        ("a[0] = 1", "sets something else than one attribute"),
        ("__class__", "uses '__class__', which is private to its class"),
        ("part._hidden()", "uses '_hidden', which is private"),
    ],
)
def test_anything_else_is_refused_when_it_is_read(text, words):
    with pytest.raises(ValueError, match=words):
        Statement(text)


def test_what_the_object_raises_is_raised():
    with pytest.raises(AttributeError, match="lvl"):
        Statement("lvl").carry_out({}, Thing())
