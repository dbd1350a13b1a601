"""A machine that drives a bench in any order, with faults between driver and instrument, and a world that judges.

What the bench believes is `instruments.bench_state`: after every step it is compared with the outputs, relays and
needles of the emulated world. Without a fault all of it has to be so, and the model says of every call whether it is
done or refused, and by which error; with a fault no output may be on that is believed off. The latch of `labctl off`
stands beside it.
"""

import contextlib
from collections import Counter
from typing import ClassVar

import numpy as np
from e2e.small_dies import BENCH, M, N, description
from faults.bench import FaultyTwin
from faults.kinds import KILLS, KINDS, Injection
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from instruments.bench import Bench
from instruments.bench_state import OUTPUTS_OFF, Contact, State
from instruments.contact import Needles
from instruments.emergency import make_safe
from instruments.open_bench import open_bench
from instruments.touches import lift, touch_down
from labctl.core.bias import Bias
from labctl.core.errors import BenchError, ContactError, InstrumentError, LabError, SwitchedOff
from labctl.core.operations import Pulse, Sense
from labctl.core.site import Site
from labctl.station.simulated import simulated

V_READ, V_WRITE = 0.1, 0.5
"""Voltages that a cell is asked to see, V."""
FIRST = 0.015
"""Highest voltage that a die may see first after a touch, V."""
FAR = 30
"""Most messages from the arming of a fault to its first chance to happen."""
FAULTS = st.tuples(st.sampled_from(sorted(KINDS.keys() - set(KILLS))), st.integers(1, FAR), st.integers(0, 9))
FILE = Bench.model_validate(BENCH, context={"file": True})


def line(length, index, level):
    """Return (1, length) V, `level` on one line."""
    levels = np.zeros((1, length))
    levels[0, index] = level
    return levels


def reading(row, col):
    """Return the read of one cell."""
    return Sense(Bias(line(M, row, V_READ), np.zeros((1, N)), compliance=5e-4), np.array([[col]]))


def pulse(row, col):
    """Return a pulse of half the voltage on row and column, and the read of its cell."""
    bias = Bias(line(M, row, V_WRITE / 2), line(N, col, -V_WRITE / 2), compliance=5e-4, pulsed=np.array([row]))
    return Pulse(bias, 1e-3, reading(row, col))


class BenchMachine(RuleBasedStateMachine):
    """The bench of small dies on its twin, whose clock is virtual."""

    happened: ClassVar[Counter[str]] = Counter()
    """How often each refusal, fault and deed has happened, in all examples of a class."""

    @initialize(seed=st.integers(0, 3), down=st.booleans())
    def begin(self, seed, down):
        """Make a twin with two dies, nobody connected, needles as somebody left them."""
        subjects = [Site(f"D{k}", description(), seed, (k, 0)) for k in range(2)]
        self.twin = FaultyTwin(FILE, {subject.spot: simulated(subject) for subject in subjects}, seed)
        if down:
            self.twin.instruments["prober"].session().handle(b"move_chuck_contact\n")
        self.nominal = self.twin.at((0, 0, 0)).nominal
        self.opened, self.latched, self.certain = None, False, True
        self.quiet_since = None
        """Time from which on nothing may be energised: the latch is set, and off was verified."""

    # -- what is true of the instruments, whatever the bench believes

    @property
    def live(self):
        """Outputs that are on, with their levels in V."""
        return self.twin.live()

    @property
    def closed(self):
        """Relays that are closed."""
        return frozenset(("matrix", relay) for relay in self.twin.instruments["matrix"].closed)

    @property
    def down(self):
        """Whether the needles touch."""
        return self.twin.world.in_contact

    @property
    def believed(self):
        """What the bench believes of itself."""
        return self.opened.die.state

    def believes(self, state, contact=None):
        """Without a fault the bench believes this of itself."""
        if self.certain:
            assert self.believed.state is state
            assert contact in {None, self.believed.contact}

    # -- one call, its refusal, and what the model expects

    def do(self, act, expected=None):
        """Do something; return whether it was done. Without a fault it is refused by `expected`, or done if None."""
        error = None
        try:
            act()
        except (LabError, KeyboardInterrupt) as refusal:  # anything else is a bug and ends the test
            error = refusal
            self.happened[type(refusal).__name__] += 1
        if self.twin.injection.happened and self.certain:
            self.certain = False
            self.happened[self.twin.injection.kind] += 1
        assert error is None or str(error) or isinstance(error, KeyboardInterrupt), "a refusal without a word"
        if self.certain:
            assert isinstance(error, expected) if expected else error is None, f"{error!r}, expected {expected}"
        return error is None

    def permit(self):
        """Raise while the bench is switched off."""
        if self.latched:
            raise SwitchedOff("bench 'small' is switched off")

    # -- who comes and goes

    @precondition(lambda self: self.opened is None)
    @rule()
    def connect(self):
        """Connect: refused while it is switched off or an output is on; nothing is changed."""
        before = self.live, self.closed

        def act():
            self.opened = open_bench(
                FILE, self.nominal, connect=self.twin.connect, wait=self.twin.wait, permit=self.permit
            )

        if self.do(act, SwitchedOff if self.latched else BenchError if self.live else None):
            assert (self.believed.state, self.believed.contact) == (State.UNKNOWN, Contact.UNKNOWN)
        assert not self.certain or before == (self.live, self.closed)
        if self.live and self.opened is None and not self.latched:
            self.switch_off()  # as the refusal says
            self.release()

    @precondition(lambda self: self.opened is not None)
    @rule()
    def leave(self):
        """Leave it as a session does: verified off, then closed."""
        opened, self.opened = self.opened, None
        if self.do(opened.off):
            assert not self.live
            assert not self.closed
        self.do(opened.close)

    @precondition(lambda self: not self.latched)
    @rule()
    def switch_off(self):
        """Type `labctl off` in another terminal: the latch first, then safe, from outside."""
        self.latched, self.quiet_since = True, None
        if self.do(lambda: make_safe(FILE, connect=self.twin.connect, wait=self.twin.wait)):
            assert not self.live
            assert not self.closed
            self.quiet_since = self.twin.world.now

    @precondition(lambda self: self.latched)
    @rule()
    def release(self):
        """Type `labctl off --release`, when the session that it has ended is closed."""
        if self.opened is not None:
            self.leave()
        self.latched, self.quiet_since = False, None

    @precondition(lambda self: self.opened is None and not self.latched and not self.closed)
    @rule(level=st.sampled_from([0.0, 0.1]))
    def leave_on(self, level):
        """Somebody switches an output on at the panel, and goes."""
        self.twin.instruments["smu2"].session().handle(f"smub.source.levelv={level} smub.source.output=1\n".encode())

    # -- what a session does

    @property
    def refusal(self):
        """The error by which energising is refused, None if it is not."""
        if self.latched:
            return SwitchedOff
        return None if self.down or self.believed.in_use else ContactError

    @precondition(lambda self: self.opened is not None)
    @rule(row=st.integers(0, M - 1), col=st.integers(0, N - 1))
    def read(self, row, col):
        """Read a cell."""
        self.measure(row, col, write=False)

    @precondition(lambda self: self.opened is not None)
    @rule(row=st.integers(0, M - 1), col=st.integers(0, N - 1))
    def pulse(self, row, col):
        """Pulse a cell and read it."""
        self.measure(row, col, write=True)

    @rule(
        place=st.integers(0, 1),
        cells=st.lists(st.tuples(st.integers(0, M - 1), st.integers(0, N - 1), st.booleans()), min_size=1, max_size=3),
        fault=st.none() | FAULTS,
    )
    def work(self, place, cells, fault):
        """Do what a session does with a die, as far as each part of it is done: connect, step, touch, measure."""
        if fault and self.certain:
            self.break_something(fault)
        if self.opened is None:
            self.connect()
        if self.opened is not None and not self.down:
            self.land()
            self.step(place)
            self.touch()
        for row, col, write in cells:
            if self.opened is not None:
                self.measure(row, col, write=write)

    def measure(self, row, col, *, write):
        """Read or pulse a cell, as a program does that leaves the contact check out."""
        die, operation = self.opened.die, pulse(row, col) if write else reading(row, col)

        def act():
            result = die.pulse(operation) if write else die.sense(operation)
            assert result.current.shape == (1, 1)
            assert not self.certain or self.twin.injection.happened or 1e-5 < result.current[0, 0] < 1e-4

        if self.do(act, self.refusal):
            self.happened["pulses" if write else "reads"] += 1
            self.believes(State.ROUTED, Contact.BIASED)
        elif self.latched:
            self.believes(State.UNKNOWN)

    @precondition(lambda self: self.opened is not None)
    @rule()
    def idle(self):
        """Be safe: done from every state."""
        if self.do(self.opened.die.idle):
            self.believes(State.COLD)

    @precondition(lambda self: self.opened is not None)
    @rule()
    def land(self):
        """Put every pad on ground, off: done from every state."""
        if self.do(self.opened.die.land):
            self.believes(State.GROUNDED)

    @precondition(lambda self: self.opened is not None)
    @rule(col=st.integers(0, 1))
    def step(self, col):
        """Go to a die: refused unless everything is off and on ground."""
        ready, place = not self.live and self.closed == FILE.landing, self.twin.world.place
        if self.do(lambda: self.opened.prober.step(col, 0), None if ready else InstrumentError):
            self.believes(State.GROUNDED)
            assert not self.certain or (self.twin.world.place[0], self.down) == (col, False)
        elif not ready:
            assert self.twin.world.place == place, "moved although it was refused"

    @precondition(lambda self: self.opened is not None)
    @rule()
    def touch(self):
        """Put the needles down, or leave them there, and prove contact."""
        was_down, refusal = self.down, SwitchedOff if self.latched else None
        if self.do(lambda: touch_down(Needles(self.opened.die), self.opened.prober), refusal):
            self.believes(State.ROUTED, Contact.BIASED)
            assert self.down or not self.certain
        elif not was_down:
            self.believes(State.UNKNOWN)

    @precondition(lambda self: self.opened is not None)
    @rule()
    def lift(self):
        """Lift the needles off pads that are off and on ground: done from every state."""
        if self.do(lambda: lift(Needles(self.opened.die), self.opened.prober)):
            self.believes(State.GROUNDED)

    # -- faults, and who repairs them

    @precondition(lambda self: self.certain)
    @rule(fault=FAULTS)
    def break_something(self, fault):
        """Let something happen at one of the next messages."""
        self.twin.injection = Injection(*fault)

    @precondition(lambda self: not self.certain)
    @rule()
    def repair(self):
        """Repair it, lift the needles at the station, and start again: `labctl off` from outside is verified."""
        self.twin.injection = Injection()
        if self.opened is not None:
            with contextlib.suppress(LabError):
                self.opened.close()
        self.opened = None
        make_safe(FILE, connect=self.twin.connect, wait=self.twin.wait)
        assert not self.live
        assert not self.closed
        self.twin.instruments["prober"].session().handle(b"move_chuck_separation\n")
        self.certain = True

    # -- what holds whatever happens

    @invariant()
    def nothing_unsafe(self):
        """No hot switch, no fight, no move in contact; no needles that part under voltage but by the fault itself."""
        lifted = self.twin.injection.kind == "needles lift" and self.twin.injection.happened
        events = self.twin.world.ledger.events
        assert not [e for e in events if not (e.what == "refused" or (lifted and e.what == "hot touch"))]
        if lifted:
            events[:] = [e for e in events if e.what != "hot touch"]

    @invariant()
    def cells_see_no_more_than_was_asked(self):
        """No cell sees more than it was asked to, and none more than the contact check first after a touch."""
        ledger = self.twin.world.ledger
        assert ledger.peak_cell_voltage <= V_WRITE + 1e-9
        assert all(volts <= FIRST + 1e-9 for volts in ledger.first_bias)

    @invariant()
    def off_is_off(self):
        """No output is on while the bench is believed off, whatever has happened."""
        if self.opened is not None:
            assert self.believed.state not in OUTPUTS_OFF or not self.live

    @invariant()
    def what_is_believed_is_so(self):
        """Outputs, levels, relays and needles are as the bench believes, but for faults and what is done beside it."""
        if self.opened is None or not self.certain:
            return
        state, contact = self.believed.state, self.believed.contact
        assert state not in {State.FAULT, State.ROUTING, State.ENERGISED}, "nothing broke off, and nothing is under way"
        assert contact is not Contact.UP or not self.down
        assert contact not in {Contact.DOWN, Contact.BIASED} or self.down
        assert contact is not Contact.BIASED or self.twin.world.ledger.first_bias[-1] > 0
        if self.latched:
            return
        assert self.believed.closed in {None, self.closed}
        assert state is not State.COLD or not self.closed
        assert state is not State.GROUNDED or self.closed == FILE.landing
        assert state is not State.ROUTED or (self.live and not any(self.live.values()))

    @invariant()
    def the_latch_is_honoured(self):
        """Nothing is energised and no output goes on once the bench is switched off, verified."""
        if self.quiet_since is not None:
            assert not self.live
            spans = self.twin.world.ledger.energised
            assert not spans or spans[-1][1] <= self.quiet_since

    def teardown(self):
        """Whatever came before, somebody who comes with `labctl off` has everything off."""
        if hasattr(self, "twin"):
            self.repair()
            self.nothing_unsafe()
