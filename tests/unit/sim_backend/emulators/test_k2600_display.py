"""Display, setups, getters and setters of the emulated 2600B: the manual's examples and rules."""

import pytest

from tests.unit.sim_backend.emulators.test_k2600 import ask, error, make, value


def test_the_text_of_the_display_is_read_as_the_manual_shows():
    smu = make()
    ask(
        smu, 'display.clear() display.setcursor(1, 1) display.settext("ABCDEFGHIJ$DKLMNOPQRST") display.setcursor(2, 1)'
    )
    ask(smu, 'display.settext("abcdefghijklm$Bnopqrstuvwxyz$F123456")')
    assert ask(smu, "print(display.gettext())") == "ABCDEFGHIJKLMNOPQRST$Nabcdefghijklmnopqrstuvwxyz123456"
    embellished = "$RABCDEFGHIJ$DKLMNOPQRST$N$Rabcdefghijklm$Bnopqrstuvwxyz$F123456"
    assert ask(smu, "print(display.gettext(true))") == embellished
    assert ask(smu, "print(display.gettext(false, 2))") == "abcdefghijklmnopqrstuvwxyz123456"
    assert ask(smu, "print(display.gettext(true, 2, 9))") == "$Rijklm$Bnopqrstuvwxyz$F123456"
    assert ask(smu, "print(display.gettext(false, 2, 9, 10))") == "ij"
    assert value(smu, "display.screen, display.USER") == [3, 3]


def test_the_first_text_replaces_what_stood_there_and_what_does_not_fit_is_lost():
    smu = make()
    assert ask(smu, "print(display.gettext())") == "User Screen" + " " * 9 + "$N"
    ask(smu, 'display.settext("1$$ is$Na second line")')
    assert ask(smu, "print(display.gettext(false, 1, 1, 5))") == "1$ is"
    assert ask(smu, "print(display.gettext(true, 1, 1, 2))") == "$R1$$"
    assert ask(smu, "print(display.gettext(false, 2))") == "a second line"
    ask(smu, 'display.setcursor(1, 18) display.settext("abcdef")')
    assert ask(smu, "print(display.gettext(false, 1, 16))") == "  abc"


@pytest.mark.parametrize(
    ("cursor", "place"),
    [
        ("1, 3", [1, 3, 0]),
        ("2, 32, 1", [2, 32, 1]),
        ("3, 1", [2, 1, 0]),
        ("1, 21", [1, 20, 0]),
        ("2, 40, 7", [2, 32, 0]),
    ],
)
def test_a_cursor_out_of_range_is_placed_where_the_manual_says(cursor, place):
    smu = make()
    ask(smu, f"display.setcursor({cursor})")
    assert value(smu, "display.getcursor()") == place
    assert error(smu) == 0


def test_the_operator_of_a_twin_presses_enter_at_once():
    smu = make()
    assert value(smu, "display.getlastkey()") == [0]
    assert value(smu, 'display.prompt("0.00", "V", "Input 0 to +2V", 0.5, 0, 2)') == [0.5]
    assert value(smu, 'display.inputvalue("+0.00", nil, 0.1, 2.0)') == [0.1]
    assert ask(smu, 'print(display.menu("Menu", "Test1 Test2 Test3"))') == "Test1"
    assert value(smu, "display.waitkey(), display.getlastkey()") == [82, 82]
    ask(smu, "display.sendkey(display.KEY_MENU)")
    assert value(smu, "display.getlastkey()") == [68]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ('display.inputvalue("+0.00", 3, 0, 2)', 1101), ('display.inputvalue("+0.00", -1, 0, 2)', 1102),
        ('display.inputvalue("V", 1)', -104), ("display.settext(nil)", -104), ("display.gettext(true, 3)", 1101),
        ("display.gettext(true, 1, 21)", 1101), ("display.menu('a', 1)", -104), ("setup.save(0)", 1102),
        ("setup.recall(6)", 1101), ("setup.save('/usb1/a.set')", -256),
    ],
)  # fmt: skip
def test_what_is_no_legal_argument_is_refused(call, code):
    smu = make()
    ask(smu, call)
    assert error(smu) == code


@pytest.mark.parametrize(("name", "most"), [("display.screen", 3), ("display.locallockout", 1), ("setup.poweron", 5)])
def test_attributes_of_the_panel_are_kept_within_their_range(name, most):
    smu = make()
    ask(smu, f"{name} = {most}")
    assert value(smu, name) == [most]
    ask(smu, f"{name} = {most + 1}")
    assert (error(smu), value(smu, name)) == (1101, [most])


def test_indicators_are_a_sum_of_bits():
    smu = make()
    assert value(smu, "display.ANNUNCIATOR_EDIT, display.ANNUNCIATOR_TRIGGER, display.ANNUNCIATOR_AUTO") == [256, 32, 8]
    assert value(smu, "display.getannunciators()") == [1024]
    ask(smu, "smua.source.limiti = -1")
    assert value(smu, "display.getannunciators()") == [1024 + 512]


def test_a_setup_is_put_back_after_a_reset_with_its_output_off():
    smu = make()
    ask(smu, "smua.measure.nplc = 3 smua.source.levelv = 0.25 smua.source.output = 1 setup.save(2)")
    ask(smu, "smua.measure.nplc = 5 smub.measure.nplc = 7 setup.recall(2)")
    names = "smua.measure.nplc, smub.measure.nplc, smua.source.levelv, smua.source.output"
    assert value(smu, names) == [3, 1, 0.25, 0]
    ask(smu, "smua.measure.nplc = 5")
    assert value(smu, "smua.measure.nplc") == [5]
    ask(smu, "setup.recall(2)")
    assert value(smu, "smua.measure.nplc") == [3], "what is changed afterwards does not change what was saved"
    ask(smu, "setup.recall(0)")
    assert value(smu, names) == [1, 1, 0, 0]
    ask(smu, "smua.measure.nplc = 5 setup.recall(4)")
    assert value(smu, "smua.measure.nplc") == [1]


def test_getters_and_setters_are_those_of_the_attribute():
    smu = make()
    ask(
        smu, 'getlevel = makegetter(smua.source, "levelv") setlevel = makesetter(smua.source, "levelv") setlevel(0.125)'
    )
    assert value(smu, "smua.source.levelv, getlevel()") == [0.125, 0.125]
    ask(smu, "setlevel(1000)")
    assert error(smu) == 1101
    assert value(smu, "getlevel()") == [0.125]
