"""The bench of the fault harness: the twin over bytes and a virtual clock, with the layer of faults."""

from faults.kinds import Injection, Killed
from faults.timeline import Timeline

from labctl.station.twin import Twin


class FaultyTwin(Twin):
    """A twin that stays while those who drive it come and go, and to whose messages an injection happens."""

    def __init__(self, bench, dies, seed, injection=None):
        self.injection = injection or Injection()
        super().__init__(bench, dies, seed=seed, faults=self)
        self.timeline = Timeline(lambda: self.world.now)

    def send(self, link, data):
        """Let a message pass, or the present injection happen to it; Killed if nobody is there to send it."""
        if self.injection.killed:
            raise Killed
        try:
            self.injection.send(link, data)
        except KeyboardInterrupt:
            self.timeline.outputs(self.live())
            self.timeline.detect()
            raise
        finally:
            self.timeline.outputs(self.live())

    def wait(self, seconds):
        """Let a time pass on the twin's clock, s; Killed if nobody is there to wait."""
        if self.injection.killed:
            raise Killed
        super().wait(seconds)
        self.timeline.waited(seconds)

    def refuses(self, name):
        """Return whether an instrument takes no connection."""
        return self.injection.refuses(name)

    def reach(self, operation):
        """Note that an operation of the die begins."""
        self.injection.reach(operation)

    def live(self):
        """Return the outputs that are on, with their levels in V, or in A of one that forces a current."""
        with self.world.lock:
            return {
                f"{name}.{channel}": level
                for name, instrument in self.instruments.items()
                for channel, level in instrument.outputs().items()
            }
