"""Objects of another library over our wire: held back messages, errors with names, calls that do not come back."""

import threading

import pytest

from instruments.adapter import objects
from instruments.adapter.objects import ForeignObject, class_of, missing
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError


class Wire:
    name = "TCPIP::192.0.2.24::5025::SOCKET"

    def __init__(self):
        self.sent = []

    def write(self, text):
        self.sent.append(("write", text))

    def query(self, text, *, wait, extra=0.0):
        self.sent.append(("query", text))
        if text == "mute?":
            raise LinkTimeoutError("it is silent")
        return f"reply to {text}"


class Box:
    """An object of a library: it gets a line to write to and read from."""

    release = threading.Event()

    def __init__(self, line):
        self.line = line
        line.write("made")

    def ask(self, text):
        self.line.write(text)
        return self.line.read()

    def hang(self):
        type(self).release.wait()
        self.line.write("LEVEL 5")

    def fail(self):
        raise KeyError("no such range")


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def box(wire, monkeypatch):
    monkeypatch.setitem(objects.MAKERS, "lab", lambda kind, line, name: kind(line))
    monkeypatch.setattr(objects, "missing", lambda library: "")
    return ForeignObject("smu", "lab", f"{__name__}.Box", wire, 0.2)


@pytest.fixture(autouse=True)
def this_module(monkeypatch):
    monkeypatch.setattr(objects, "class_of", lambda path: Box)


def test_a_question_and_its_reply_are_one_exchange_and_settings_are_sent_at_the_end_of_a_call(wire, box):
    assert box.call(lambda made: made.ask("state?"), "state") == "reply to state?"
    assert wire.sent == [("write", "made"), ("query", "state?")]
    box.call(lambda made: [made.line.write(text) for text in ("LEVEL 1\n", "OUT 1\r\n")], "two settings")
    assert wire.sent[2:] == [("write", "LEVEL 1"), ("write", "OUT 1")]


def test_what_the_object_raises_names_instrument_class_and_call(box):
    with pytest.raises(InstrumentError) as caught:
        box.call(lambda made: made.fail(), "limit: fail()")
    text = str(caught.value)
    assert text.startswith(f"smu: 'limit: fail()' of {__name__}.Box failed: KeyError: 'no such range'; ")
    assert "at 'roles' of smu in the bench file; 'labctl check' shows its state" in text


def test_an_error_of_the_wire_stays_what_it_is(box):
    with pytest.raises(LinkTimeoutError, match="silent"):
        box.call(lambda made: made.ask("mute?"), "mute")


def test_a_line_that_nothing_asked_for_is_refused(box):
    with pytest.raises(InstrumentError, match="reads a line that nothing asked for"):
        box.call(lambda made: made.line.read(), "read")


def test_a_call_that_does_not_come_back_ends_and_nothing_of_it_is_sent_later(wire, box, monkeypatch):
    monkeypatch.setattr(Box, "release", threading.Event())
    begun = threading.active_count()
    with pytest.raises(
        InstrumentError, match=r"'level' of .*Box did not come back within 0.2 s; nothing of it is sent"
    ):
        box.call(lambda made: made.hang(), "level")
    with pytest.raises(InstrumentError, match="did not come back"):
        box.call(lambda made: made.ask("state?"), "state")
    (late,) = [thread for thread in threading.enumerate() if thread.name == "smu: level"]
    Box.release.set()
    late.join()
    assert threading.active_count() == begun
    assert ("write", "LEVEL 5") not in wire.sent
    box.close()


def interrupted(thread, timeout=None):
    raise KeyboardInterrupt


def test_an_interrupted_call_sends_nothing_more(wire, box, monkeypatch):
    monkeypatch.setattr(Box, "release", threading.Event())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            box.call(lambda made: made.hang(), "level")
    Box.release.set()
    for thread in threading.enumerate():
        if thread.name == "smu: level":
            thread.join()
    assert ("write", "LEVEL 5") not in wire.sent


def test_a_class_that_is_not_there_is_told(monkeypatch):
    monkeypatch.undo()
    assert class_of("collections.OrderedDict").__name__ == "OrderedDict"
    with pytest.raises(BenchError, match="'Keithley' is no class; expected one such as pymeasure"):
        class_of("Keithley")
    with pytest.raises(BenchError, match="'collections' has no class 'Keithley'"):
        class_of("collections.Keithley")
    with pytest.raises(BenchError, match=r"'nowhere.Keithley' cannot be imported: ModuleNotFoundError"):
        class_of("nowhere.Keithley")


def test_a_library_that_is_not_installed_is_told_with_what_installs_it(monkeypatch, wire):
    monkeypatch.setattr(objects.importlib.util, "find_spec", lambda name: None)
    assert missing("qcodes") == "qcodes is not installed; python -m pip install 'mtj-labctl[qcodes]'"
    with pytest.raises(BenchError, match="smu: pymeasure is not installed"):
        ForeignObject("smu", "pymeasure", "pymeasure.X", wire, 1.0).call(lambda made: made, "x")
