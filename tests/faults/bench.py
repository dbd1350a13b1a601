"""The bench of the fault harness: the twin over bytes and a virtual clock, with the layer that injects faults."""

import time

from faults.kinds import Injection

from instruments.transport import BytesTransport
from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.station.twin import Twin, link_of
from sim_backend.emulators.k2600_smu import ON


class FaultyLink(BytesTransport):
    """The transport to an instrument of the twin, through an injection; a reply that does not come takes its time."""

    def __init__(self, twin, name, entry):
        super().__init__(twin.instruments[name].session(), name, **link_of(entry))
        self.twin = twin
        self.late = self.survivor = b""

    @property
    def instrument(self):
        """The emulated instrument; another one after a power cycle."""
        return self.twin.instruments[self.name]

    def execute(self, data):
        """Let the instrument execute a message, and return its reply."""
        self._handler.instrument = self.instrument
        return self._handler.handle(data)

    def give(self, reply):
        """Let the driver receive a reply."""
        if reply:
            self.twin.replies[self.name] = reply
        self._replies += reply

    def deliver(self, data):
        """Let a message and its reply pass; returns False: nothing happened to it."""
        reply = self.execute(data)
        late, self.late = self.late, b""
        self.give(late + reply)
        return False

    def gone(self):
        """Return the error of a connection that the instrument has closed."""
        return InstrumentError(f"{self.name} is gone: connection closed")

    def _send(self, data, deadline):
        with self.twin.world.lock:
            self.twin.injection.send(self, data)

    def _receive(self, deadline):
        if not self._replies:
            # what is left of the deadline, without the microseconds that the computer took
            self.twin.wait(round(max(0.0, deadline - time.monotonic()), 1))
            raise LinkTimeoutError(f"{self.name} has no reply")
        return super()._receive(deadline)

    def _reopen(self):
        injection = self.twin.injection
        if injection.lasting and injection.kind == "gone" and injection.instrument == self.name:
            raise self.gone()
        super()._reopen()
        self.late, self.survivor = self.survivor, b""


class FaultyTwin(Twin):
    """A twin that stays while those who drive it come and go, and to whose messages an injection happens."""

    def __init__(self, bench, dies, seed, injection=None):
        self.injection, self.replies, self._made = injection or Injection(), {}, {}
        super().__init__(bench, dies, seed=seed)

    def _emulate(self, name, *how):
        self._made[name] = how
        return super()._emulate(name, *how)

    def connect(self, name, entry):
        """Return the transport of one instrument."""
        return FaultyLink(self, name, entry)

    def power_cycle(self, name):
        """Switch an instrument off and on: it has forgotten everything, and its outputs and relays are open."""
        if closed := getattr(self.instruments[name], "closed", None):
            self.instruments[name]._move(open=sorted(closed))
        self.instruments[name] = self._emulate(name, *self._made[name])

    def live(self):
        """Return the outputs that are on, with their levels in V."""
        with self.world.lock:
            return {
                f"{name}.{channel}": smu.set.levelv
                for name, instrument in self.instruments.items()
                for channel, smu in getattr(instrument, "smus", {}).items()
                if smu.set.output == ON
            }
