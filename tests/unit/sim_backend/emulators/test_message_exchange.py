"""The message exchange of IEEE 488.2: interrupted, unterminated, cleared, dropped, and a host that never reads."""

import pytest

from sim_backend.emulators import message_exchange
from sim_backend.emulators.link import Fault
from sim_backend.emulators.message_exchange import MAV, MessageExchange
from tests.talker import Talker
from tests.waiting import PATIENCE, until


@pytest.fixture
def talker() -> Talker:
    return Talker()


def test_a_message_before_the_response_was_read_drops_it_with_an_error(talker: Talker) -> None:
    exchange = MessageExchange(talker)
    exchange.put(b"*IDN?\n", True)
    until(lambda: exchange.status_byte & MAV)
    exchange.put(b":LEVEL?", True)
    assert exchange.take(100, PATIENCE) == (b"+0.000000E+00\n", True)
    assert talker.errors.next().startswith("-410")
    exchange.close()


def test_where_responses_are_sent_unasked_nothing_is_interrupted(talker: Talker) -> None:
    exchange = MessageExchange(talker, interrupts=False)
    exchange.put(b"*IDN?\n", False)
    until(lambda: exchange.status_byte & MAV)
    exchange.put(b":LEVEL?\n", False)
    assert [exchange.take(100, PATIENCE, asked=False)[0] for _ in range(2)] == [
        b"EXAMPLE,T1,talker,1\n",
        b"+0.000000E+00\n",
    ]
    assert exchange.take(100, 0, asked=False) == (b"", False)
    assert len(talker.errors) == 0
    exchange.close()


def test_a_device_clear_drops_both_queues_and_what_is_executed_answers_nothing(talker: Talker) -> None:
    exchange = MessageExchange(talker)
    exchange.put(b":LEVEL 4;:HANG;:LEVEL?\n", True)
    exchange.put(b"*IDN?\n", True)
    until(talker.hangs.is_set)
    exchange.clear()
    exchange.put(b"*OPC?\n", True)
    assert exchange.take(100, PATIENCE) == (b"1\n", True)
    assert talker.level == 4
    exchange.close()


def test_a_conversation_that_the_instrument_ends_gives_no_response(talker: Talker) -> None:
    talker.fault = lambda line: Fault.DROP if b"LEVEL" in line else Fault.NONE
    exchange = MessageExchange(talker)
    exchange.put(b":LEVEL?\n", True)
    assert exchange.take(100, PATIENCE) == (b"", False)
    assert exchange.dropped
    exchange.close()


def test_a_host_that_never_reads_stops_its_own_messages(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_exchange, "MOST_WAITING", 10)
    exchange = MessageExchange(talker, interrupts=False)
    exchange.put(b"*IDN?\n", False)
    until(lambda: exchange.status_byte & MAV)
    exchange.put(b":LEVEL 1\n", False)
    assert talker.level == 0
    assert exchange.take(100, PATIENCE)[0]
    until(lambda: talker.level == 1)
    exchange.close()


def test_messages_that_nobody_executes_wait_before_the_queue(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_exchange, "MAX_MESSAGE", 3)
    exchange = MessageExchange(talker)
    exchange.put(b":HANG\n", True)
    until(talker.hangs.is_set)
    exchange.put(b":LEVEL 2\n", True)
    talker.interrupt()
    exchange.put(b":LEVEL?\n", True)
    assert exchange.take(100, PATIENCE) == (b"+2.000000E+00\n", True)
    exchange.abort()
    assert exchange.aborted
    exchange.close()
