"""Injections of the fault harness: at a message by its number, ^C and kills among them, with the trail of all messages.

A second fault can follow a first one: what it happens to then are messages that make a bench safe, and that open it
again.
"""

import threading
from dataclasses import dataclass

from sim_backend.emulators.link import Instrument
from sim_backend.faults import kinds
from sim_backend.faults.kinds import KINDS, LASTING, kind
from sim_backend.faults.listed import ListedFaults

__all__ = ["KILLS", "KINDS", "LASTING", "DoesNotApply", "Injection", "Killed", "Night", "Sent"]

KILLS = ("killed before", "killed after")
"""Kinds that end the process that drives the bench, which sends nothing any more."""


@dataclass
class Sent:
    """A message of a trail.

    Args:
        emulator: class of the instrument.
        live: whether one of its outputs was on.
        in_contact: whether the needles were down.
        reply: what the host has received for it, b"" for nothing.
    """

    instrument: str
    message: bytes
    phase: str
    emulator: type[Instrument]
    live: bool
    in_contact: bool
    reply: bytes = b""


class Killed(BaseException):
    """The process is no more."""


@kind("^C before")
def _interrupt_before(injection, link, data):
    if threading.current_thread() is not threading.main_thread():
        return link.deliver(data)
    injection.happened = True
    raise KeyboardInterrupt


@kind("^C after")
def _interrupt_after(injection, link, data):
    link.deliver(data)
    if threading.current_thread() is not threading.main_thread():
        return False
    injection.happened = True
    raise KeyboardInterrupt


@kind("killed before")
def _kill_before(injection, link, data):
    injection.happened = True
    injection.kill()


@kind("killed after")
def _kill_after(injection, link, data):
    link.deliver(data)
    injection.happened = True
    injection.kill()


class DoesNotApply(BaseException):
    """A fault was to happen to one message, to which its kind does not apply."""


class Injection(kinds.Injection):
    """One fault of a run, which costs a die at most `tries`.

    Args:
        at: number of the message from which on it happens to the first one that it applies to, from 1; 0 is never.
        seed: of what is left to chance in it.
        only: whether it happens to that message or not at all; the run ends then.
        first: another injection, which has to happen before.
        of: name of an instrument, whose messages alone `at` counts.
    """

    tries = 3

    def __init__(self, kind="", at=0, seed=0, only=False, first=None, of=""):
        super().__init__(kind, f"{at} {seed}")
        self.at, self.only, self.first, self.of = at, only, first, of
        self.phase = ""
        self.trail = []
        """Every message, as a `Sent`."""
        self.applies = True
        self.messages = self.count = self.struck_at = 0
        self.killed = False
        """Whether the process that drives the bench is no more."""
        self.at_kill = lambda: None
        """Called at the moment of a kill."""

    def send(self, link, data):
        """Let a message pass, or happen to it."""
        self.messages += 1
        self.count += self.of in ("", link.name)
        sent = self._record(link, data)
        if not self.applies:
            raise DoesNotApply
        try:
            self._send(link, data)
        finally:
            sent.reply = link.given

    def _record(self, link, data):
        """Return a message as it is recorded in the trail."""
        instrument = link.instrument
        live, in_contact = bool(instrument.outputs()), link.world.in_contact
        self.trail.append(Sent(link.name, data, self.phase, type(instrument), live, in_contact))
        return self.trail[-1]

    def _send(self, link, data):
        if self.first is not None and not self.first.happened:
            if 0 < self.first.at <= self.messages:
                with link.instrument.lock, link.world.lock:
                    self.first.at_kill = self._kill_all
                    self.first.strike(link, data)
            else:
                link.deliver(data)
            return
        due = 0 < self.at <= self.count and self.of in ("", link.name) and not self.happened
        if not due and not (self.lasting and link.name == self.instrument):
            link.deliver(data)
            return
        with link.instrument.lock, link.world.lock:
            try:
                self.strike(link, data)
            finally:
                if not self.happened:
                    self.applies = not self.only
                elif not self.struck_at:
                    self.struck_at = self.messages

    @property
    def kinds(self):
        """The kinds of what happens."""
        return {self.kind} | (self.first.kinds if self.first else set())

    def kill(self):
        """End the process that drives the bench."""
        self.killed = True
        self.at_kill()
        raise Killed

    def _kill_all(self):
        self.killed = True
        self.at_kill()

    def begin(self, die):
        """Begin a session with a die: by a process that is alive."""
        self.killed = False

    def refuses(self, name):
        """Return whether an instrument takes no connection."""
        return self.lasting and self.kind == "gone" and self.instrument == name

    def reach(self, operation):
        """Do nothing: what counts are messages."""


class Night(Injection):
    """The faults of a list, each at its die and instrument: what a rehearsed night injects."""

    tries = 9

    def __init__(self, faults):
        super().__init__()
        self.faults, self.struck = faults, {}
        self.listed = ListedFaults(lambda fault, detail: self.struck.update({fault.number: detail}))

    @property
    def kinds(self):
        """The kinds of what has happened."""
        return {fault.kind for fault in self.faults if fault.number in self.struck}

    def begin(self, die):
        """Begin a session with a die: what has happened does not happen again."""
        super().begin(die)
        self.listed.expect(f for f in self.faults if f.die == die and f.number not in self.struck)

    def reach(self, operation):
        """Note that an operation of the die begins."""
        self.listed.reach(operation)

    def send(self, link, data):
        """Let a message pass, or the fault that is due happen to it."""
        self.messages += 1
        self._record(link, data)
        self.listed.send(link, data)
