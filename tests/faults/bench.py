"""The bench of the fault harness: the twin over bytes and a virtual clock, with the layer of faults."""

from faults.kinds import Injection

from labctl.station.twin import Twin
from sim_backend.emulators.k2600_smu import ON


class FaultyTwin(Twin):
    """A twin that stays while those who drive it come and go, and to whose messages an injection happens."""

    def __init__(self, bench, dies, seed, injection=None):
        self.injection = injection or Injection()
        super().__init__(bench, dies, seed=seed, faults=self)

    def send(self, link, data):
        """Let a message pass, or the present injection happen to it."""
        self.injection.send(link, data)

    def refuses(self, name):
        """Return whether an instrument takes no connection."""
        return self.injection.refuses(name)

    def reach(self, operation):
        """Note that an operation of the die begins."""
        self.injection.reach(operation)

    def live(self):
        """Return the outputs that are on, with their levels in V."""
        with self.world.lock:
            return {
                f"{name}.{channel}": smu.set.levelv
                for name, instrument in self.instruments.items()
                for channel, smu in getattr(instrument, "smus", {}).items()
                if smu.set.output == ON
            }
