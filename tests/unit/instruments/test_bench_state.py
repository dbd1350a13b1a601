"""The state of a bench: every transition from every state, with needles and latch in every condition."""

from itertools import product

import pytest

from instruments.bench_state import BenchState, Contact, IllegalTransition, State
from labctl.core.errors import ContactError, LabError, SwitchedOff

LANDING = frozenset({("matrix", "1H01"), ("matrix", "1H02")})
ROUTE = frozenset({("matrix", "1A01"), ("matrix", "1B02")})
FIRST = 0.015
U, F, OFF, COLD = State.UNKNOWN, State.FAULT, State.OFF, State.COLD
GROUNDED, ROUTING, ROUTED, ENERGISED = State.GROUNDED, State.ROUTING, State.ROUTED, State.ENERGISED


class Latch:
    """A permit that can be withdrawn."""

    def __init__(self):
        self.set = False

    def __call__(self):
        if self.set:
            raise SwitchedOff("switched off by alice")


class Broken(Exception):
    """What breaks a transition off."""


def during(context, *, breaks=False):
    """Pass through a transition."""
    with context:
        if breaks:
            raise Broken


def in_state(state, contact=Contact.UNKNOWN, landing=LANDING):
    """Return a bench that was brought to a state, and its needles to theirs, by transitions only; and its latch."""
    latch = Latch()
    bench = BenchState(landing, FIRST, latch)
    if contact is Contact.BIASED:
        reach(bench, ROUTED, landing)
        bench.biased()
    reach(bench, state, landing)
    if contact in {Contact.UP, Contact.DOWN}:
        bench.needles(down=contact is Contact.DOWN)
    assert (bench.state, bench.contact) == (state, contact)
    return bench, latch


def reach(bench, state, landing):
    """Bring a bench to a state."""
    bench.fail("made safe")
    bench.outputs_off()
    if state is OFF:
        return
    bench.relays_open()
    match state:
        case State.UNKNOWN:
            bench.doubt()
        case State.FAULT:
            bench.fail("a test")
        case State.GROUNDED:
            during(bench.route(landing))
        case State.ROUTED | State.ROUTING | State.ENERGISED:
            during(bench.switch_on())
            bench.at_zero()
            during(bench.route(ROUTE))
            if state is ENERGISED:
                during(bench.drive(0.0))
            if state is ROUTING:
                with pytest.raises(Broken):
                    during(bench.route(LANDING), breaks=True)


EVERY = frozenset(State)
SOUND = EVERY - {F, ROUTING}
SAME = "same"

TRANSITIONS = {
    # name: (call, states that permit it, state afterwards, state if it breaks off)
    "read off, relays open": (lambda b: b.verified_off(()), EVERY, {**dict.fromkeys(SOUND, COLD)}, None),
    "read off, landed": (lambda b: b.verified_off(LANDING), EVERY, dict.fromkeys(SOUND, GROUNDED), None),
    "read off, other relays": (lambda b: b.verified_off(ROUTE), EVERY, dict.fromkeys(SOUND, OFF), None),
    "not read off": (BenchState.doubt, EVERY, dict.fromkeys((OFF, COLD, GROUNDED), U), None),
    "read at 0 V": (BenchState.at_zero, {ROUTED, ENERGISED}, ROUTED, None),
    "fault": (lambda b: b.fail("it broke"), EVERY, F, None),
    "outputs off": (BenchState.outputs_off, {F}, OFF, None),
    "relays open": (BenchState.relays_open, {OFF}, COLD, None),
    "open relays": (
        lambda b: b.route(()),
        {OFF, COLD, GROUNDED, ROUTED},
        {OFF: COLD, COLD: COLD, GROUNDED: COLD, ROUTED: ROUTED},
        {OFF: OFF, COLD: OFF, GROUNDED: OFF, ROUTED: ROUTING},
    ),
    "land": (
        lambda b: b.route(LANDING),
        {OFF, COLD, GROUNDED, ROUTED},
        {OFF: GROUNDED, COLD: GROUNDED, GROUNDED: GROUNDED, ROUTED: ROUTED},
        {OFF: OFF, COLD: OFF, GROUNDED: OFF, ROUTED: ROUTING},
    ),
    "route": (lambda b: b.route(ROUTE), {ROUTED}, ROUTED, ROUTING),
    "switch on": (BenchState.switch_on, {COLD, GROUNDED}, ENERGISED, F),
    "exercise": (BenchState.exercise, {COLD}, U, F),
    "drive at first": (lambda b: b.drive(FIRST), {ROUTED, ENERGISED}, ENERGISED, F),
    "drive": (lambda b: b.drive(0.5), {ROUTED, ENERGISED}, ENERGISED, F),
    "script": (lambda b: b.script(0.5, ROUTE), {ROUTED}, ROUTED, F),
    "move relays": (BenchState.require_still, {OFF, ROUTING}, SAME, None),
    "move needles": (BenchState.needles_move, {GROUNDED}, SAME, None),
    "bias": (BenchState.biased, {ROUTED}, SAME, None),
    "go on": (BenchState.require_sound, SOUND, SAME, None),
    "another die": (BenchState.another_die, EVERY, SAME, None),
    "needles up": (lambda b: b.needles(down=False), EVERY, SAME, None),
    "needles down": (lambda b: b.needles(down=True), EVERY, SAME, None),
}
CONTACT_AFTER = {
    "move needles": dict.fromkeys(Contact, Contact.UNKNOWN),
    "another die": dict.fromkeys(Contact, Contact.UNKNOWN),
    "needles up": dict.fromkeys(Contact, Contact.UP),
    "needles down": {**dict.fromkeys(Contact, Contact.DOWN), Contact.BIASED: Contact.BIASED},
    "bias": dict.fromkeys(Contact, Contact.BIASED),
}


def refusal(name, state, contact, latched):
    """Return the error that a transition is refused with, None if it is permitted; the first that applies."""
    if state not in TRANSITIONS[name][1]:
        return IllegalTransition
    if name in {"switch on", "bias"} and contact is Contact.UP:
        return ContactError
    if name == "exercise" and contact is not Contact.UP:
        return ContactError
    if name in {"drive", "script"} and contact is not Contact.BIASED:
        return IllegalTransition
    if name in {"switch on", "exercise", "script"} and latched:
        return SwitchedOff
    return None


def carry_out(bench, name, *, breaks=False):
    """Carry a transition out, or break it off."""
    pending = TRANSITIONS[name][0](bench)
    if pending is not None:
        during(pending, breaks=breaks)


def after(outcome, state):
    """Return the state that a row of the table names."""
    return outcome.get(state, state) if isinstance(outcome, dict) else state if outcome == SAME else outcome


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("state", State)
def test_each_transition_from_each_state_is_allowed_or_refused_and_leads_where_the_table_says(state, name):
    for contact, latched in product(Contact, (False, True)):
        bench, latch = in_state(state, contact)
        latch.set, closed = latched, bench.closed
        error = refusal(name, state, contact, latched)
        if error is None:
            carry_out(bench, name)
            assert bench.state is after(TRANSITIONS[name][2], state)
            assert bench.contact is CONTACT_AFTER.get(name, {}).get(contact, contact)
        else:
            with pytest.raises(error) as raised:
                carry_out(bench, name)
            assert str(raised.value)
            expected = U if error is SwitchedOff else state  # whoever set the latch has acted
            assert (bench.state, bench.contact) == (expected, contact)
            assert bench.closed == (None if error is SwitchedOff else closed)


@pytest.mark.parametrize("name", [name for name, row in TRANSITIONS.items() if row[3] is not None])
@pytest.mark.parametrize("state", State)
def test_a_transition_that_breaks_off_leaves_only_what_is_still_verified(state, name):
    for contact in (Contact.BIASED, Contact.UP):
        bench, _ = in_state(state, contact)
        if refusal(name, state, contact, latched=False) is None:
            with pytest.raises(Broken):
                carry_out(bench, name, breaks=True)
            assert bench.state is after(TRANSITIONS[name][3], state)
            assert bench.closed is None


@pytest.mark.parametrize("state", State)
def test_where_nothing_lands_on_ground_needles_move_while_every_relay_is_open_and_nowhere_else(state):
    if state is GROUNDED:
        return
    bench, _ = in_state(state, landing=frozenset())
    if state is COLD:
        bench.needles_move()
    else:
        with pytest.raises(IllegalTransition):
            bench.needles_move()


@pytest.mark.parametrize("state", State)
def test_what_is_closed_is_known_or_said_not_to_be(state):
    known = {COLD: frozenset(), GROUNDED: LANDING, ROUTED: ROUTE, ENERGISED: ROUTE}
    assert in_state(state)[0].closed == known.get(state)


@pytest.mark.parametrize("state", State)
def test_whatever_the_state_making_safe_leads_to_cold_and_from_there_everything_is_allowed(state):
    bench, _ = in_state(state)
    bench.fail("the bench was not made safe")
    assert not bench.orderly
    bench.outputs_off()
    bench.relays_open()
    during(bench.route(LANDING))
    bench.needles_move()
    bench.needles(down=True)
    during(bench.switch_on())
    during(bench.drive(FIRST))
    bench.at_zero()
    bench.biased()
    during(bench.route(ROUTE))
    during(bench.drive(0.5))
    assert (bench.state, bench.contact, bench.closed) == (ENERGISED, Contact.BIASED, ROUTE)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("contact", Contact)
def test_the_latch_is_read_each_time_and_whoever_set_it_is_believed_to_have_acted(state, contact):
    bench, latch = in_state(state, contact)
    bench.require_permit()
    assert bench.state is state
    latch.set = True
    with pytest.raises(SwitchedOff):
        bench.require_permit()
    assert bench.state is (state if state in {F, ROUTING} else U)
    latch.set = False
    bench.require_permit()


@pytest.mark.parametrize("volts", [FIRST * 1.001, 0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("contact", Contact)
def test_more_than_the_first_voltage_is_for_needles_that_have_carried_it(contact, volts):
    bench, _ = in_state(ROUTED, contact)
    if contact is Contact.BIASED:
        during(bench.drive(volts))
        return
    with pytest.raises(IllegalTransition, match=f"needles that are {contact}: the first voltage .* at most 0.015 V"):
        during(bench.drive(volts))
    during(bench.drive(FIRST))


def test_needles_that_were_seen_up_have_to_carry_the_first_voltage_again():
    bench, _ = in_state(COLD, Contact.BIASED)
    bench.needles(down=False)
    bench.needles(down=True)
    assert bench.contact is Contact.DOWN


@pytest.mark.parametrize(
    ("state", "call", "words"),
    [
        (F, BenchState.require_sound, "must be made safe first: a test"),
        (ROUTING, BenchState.require_sound, "must be made safe first: a route broke off"),
        (ROUTED, BenchState.needles_move, r"outputs are NOT verified off \(routed, needles unknown\); land first"),
        (COLD, BenchState.needles_move, "2 pads are not on ground, and 0 other relays are closed .*with every pad"),
        (COLD, lambda b: during(b.route(ROUTE)), "outputs are off: relays open, or go to landing"),
        (
            ENERGISED,
            lambda b: during(b.route(ROUTE)),
            "not verified at 0 V, and relays stay as they are: it is energised",
        ),
        (U, lambda b: during(b.switch_on()), "the bench is not switched on: it is unknown"),
        (F, lambda b: during(b.drive(0.0)), "must be made safe first: a test"),
    ],
)
def test_a_refusal_says_what_the_state_is_and_what_to_do(state, call, words):
    with pytest.raises(LabError, match=words):
        call(in_state(state)[0])


def test_other_relays_than_those_of_landing_are_counted():
    bench, _ = in_state(COLD)
    bench.verified_off(ROUTE | {("matrix", "1H01")})
    for call in (BenchState.needles_move, lambda b: during(b.switch_on())):
        with pytest.raises(IllegalTransition, match="1 pads are not on ground, and 2 other relays are closed"):
            call(bench)
