"""Messages arrive, are tried again, are given up, and never stand in the way of a run."""

import socket
import threading

import pytest

from labctl.batch import notifications as module
from labctl.batch.notifications import Notifier, try_out
from labctl.batch.receivers import DeliveryError, Receiver
from tests.waiting import PATIENCE, until

ABOUT = {"run": "W12", "folder": "runs/w12"}
ALL = ("alarm", "die", "stop", "end")


class Chat:
    """A receiver that takes messages, or fails as it is told.

    Args:
        troubles: errors of its first tries, in order; None takes the message.
    """

    def __init__(self, *troubles):
        self.troubles, self.tries, self.taken = list(troubles), 0, []
        self.tried = threading.Event()

    def deliver(self, message):
        self.tries += 1
        self.tried.set()
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        self.taken.append(message)

    @property
    def texts(self):
        return [message["text"] for message in self.taken]


class Hanging(Chat):
    """A receiver that does not answer before it is let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def deliver(self, message):
        self.tried.set()
        self.go.wait()
        super().deliver(message)


def notifier(*receivers, on=ALL, back_off=0.01, **more):
    """Return a notifier that tries again at once, and the list of what it reports, with the thread of each report."""
    reported = []

    def report(event, text):
        assert event == "notify"
        reported.append((text, threading.current_thread()))

    named = [Receiver(f"chat {number}", receiver.deliver) for number, receiver in enumerate(receivers, 1)]
    return Notifier(named, on, ABOUT, report, back_off=back_off, **more), reported


def test_a_message_has_all_that_is_known_of_it():
    chat = Chat()
    sending, reported = notifier(chat)
    sending.send("alarm", "no contact µ", die="D17", exit_code=None, tries=3)
    sending.send("end", "35 of 36 dies are good", exit_code=1)
    assert sending.close(PATIENCE) == 0
    assert sending.delivered == 2
    first, last = chat.taken
    assert first.pop("utc").endswith("+00:00")
    assert first == {
        "event": "alarm",
        "text": "W12, D17: no contact µ",
        "run": "W12",
        "folder": "runs/w12",
        "die": "D17",
        "exit_code": None,
        "host": socket.gethostname(),
        "tries": 3,
    }
    assert (last["text"], last["die"], last["exit_code"]) == ("W12: 35 of 36 dies are good", "", 1)
    assert reported == []


def test_a_receiver_in_trouble_is_tried_again_until_it_takes_the_message_and_later_ones_wait_for_it():
    chat = Chat(DeliveryError("busy"), DeliveryError("busy"), DeliveryError("busy"))
    sending, reported = notifier(chat)
    sending.send("alarm", "one")
    sending.send("alarm", "two")
    assert sending.close(PATIENCE) == 0
    assert (chat.tries, chat.texts) == (5, ["W12: one", "W12: two"])
    assert reported == []


@pytest.mark.parametrize(("again", "tries"), [(True, 3), (False, 1)])
def test_a_message_that_is_not_taken_is_given_up_and_reported_to_who_sends(again, tries):
    chat = Chat(*[DeliveryError("full", again=again)] * 3)
    sending, reported = notifier(chat, tries=3)
    sending.send("stop", "three dies without contact")
    assert sending.close(PATIENCE) == sending.failed == 1
    assert chat.tries == tries
    ((text, thread),) = reported
    assert text == f"chat 1: the message 'stop' was not delivered: full (try {tries})"
    assert thread is threading.main_thread()


def test_a_receiver_that_stays_away_is_reported_when_the_run_ends():
    chat = Chat(*[DeliveryError("it is gone")] * 10**4)
    sending, reported = notifier(chat, tries=10**6)
    sending.send("alarm", "is anybody there")
    sending.send("end", "good night")
    until(lambda: sending._senders[0]._trouble)
    assert sending.close(0.1) == 2
    assert all("the run has ended; so far it is gone (try " in text for text, _ in reported)
    assert not chat.taken


def test_a_receiver_that_comes_back_gets_what_was_queued():
    chat = Chat(DeliveryError("gone"))
    sending, _ = notifier(chat)
    for text in "abc":
        sending.send("alarm", text)
    assert chat.tried.wait(PATIENCE)
    assert sending.close(PATIENCE) == 0
    assert chat.texts == ["W12: a", "W12: b", "W12: c"]


def test_a_receiver_that_hangs_holds_nobody_up():
    chat = Hanging()
    sending, reported = notifier(chat)
    for number in range(50):  # would not end if one waited for the receiver
        sending.send("alarm", f"{number}")
    assert chat.tried.wait(PATIENCE)
    assert sending.close(0.1) == 50
    assert not chat.taken
    chat.go.set()
    assert len(reported) == 50
    assert "the run has ended" in reported[0][0]


def test_waits_grow_and_stay_bounded(monkeypatch):
    waits = []
    monkeypatch.setattr(module._Sender, "_rest", lambda self, wait: waits.append(wait))
    sending, _ = notifier(Chat(*[DeliveryError("busy")] * 12), back_off=2.0)
    sending.send("alarm", "x")
    assert sending.close(PATIENCE) == 1
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_a_run_that_ends_does_not_wait_for_the_next_try():
    chat = Chat(DeliveryError("busy"))
    sending, _ = notifier(chat, back_off=600.0)
    sending.send("end", "x")
    assert chat.tried.wait(PATIENCE)
    assert sending.close(PATIENCE) == 0
    assert chat.tries == 2


def test_too_many_messages_push_out_the_oldest(monkeypatch):
    monkeypatch.setattr(module, "QUEUE", 3)
    chat = Hanging()
    sending, reported = notifier(chat)
    sending.send("alarm", "under way")
    assert chat.tried.wait(PATIENCE)
    for text in "abcde":
        sending.send("alarm", text)
    chat.go.set()
    assert sending.close(PATIENCE) == 2
    assert chat.texts == ["W12: under way", "W12: c", "W12: d", "W12: e"]
    assert "more than 3 messages were waiting" in reported[0][0]


def test_a_bug_in_a_receiver_costs_its_message_only():
    chat = Chat(ZeroDivisionError("a bug"))
    sending, reported = notifier(chat)
    sending.send("alarm", "a")
    sending.send("alarm", "b")
    assert (sending.close(PATIENCE), sending.delivered, chat.tries) == (1, 1, 2)
    assert "ZeroDivisionError" in reported[0][0]


def test_a_receiver_in_trouble_does_not_delay_the_other():
    lost, chat = Chat(*[DeliveryError("gone")] * 10), Chat()
    sending, reported = notifier(lost, chat, back_off=600.0)
    sending.send("alarm", "x")
    until(lambda: sending.delivered)
    assert chat.texts == ["W12: x"]
    assert sending.close(0.0) == 1
    assert reported[0][0].startswith("chat 1: ")


def test_only_the_events_that_are_asked_for_are_sent():
    chat = Chat()
    sending, _ = notifier(chat, on=("die", "end"))
    for event in ALL:
        sending.send(event, event)
    sending.close(PATIENCE)
    assert [message["event"] for message in chat.taken] == ["die", "end"]


def test_nothing_is_sent_where_nobody_is_named():
    sending = Notifier([], (), ABOUT)
    sending.send("alarm", "x")
    assert sending.close() == 0


def test_a_test_message_goes_to_everybody_once():
    chat, lost = Chat(), Chat(DeliveryError("it did not take the message"))
    receivers = [Receiver("a", lost.deliver), Receiver("b", chat.deliver)]
    assert list(try_out(receivers, ABOUT)) == [("a", "it did not take the message"), ("b", "")]
    assert [(m["event"], m["text"]) for m in chat.taken] == [("test", "W12: this is a test; nothing has happened")]
