"""A small SCPI instrument for the links: it answers binary blocks, and does nothing for as long as it is told."""

import threading

import numpy as np

from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.scpi.parameters import Number
from sim_backend.emulators.world import Cables, World

SIZE = 1_200_000


def block(size: int) -> bytes:
    """Return bytes of every value, line feeds among them, with the head of a block of IEEE 488.2."""
    data = bytes(range(256)) * (size // 256 + 1)
    return b"#%d%d%s\n" % (len(str(size)), size, data[:size])


class Talker(ScpiInstrument):
    """`:BLOCK? n` answers n bytes; `:HANG` lasts until it is ended; `:LEVEL` is a setting that a clear leaves."""

    maker = "EXAMPLE"

    def __init__(self, name: str = "talker") -> None:
        self.level, self.hangs, self._ended = 0.0, threading.Event(), threading.Event()
        world = World(Cables({}, {}), ResistorBox(np.ones((1, 1, 1))))
        super().__init__(name, "T1", world, serial=name, revision="1")

    def build(self) -> None:
        count = Number(0, 4_000_000, whole=True)
        self.tree.add(
            ":BLOCk", query=lambda size: block(int(size)).decode("latin-1").removesuffix("\n"), asked=(count,)
        )
        self.tree.add(":HANG", run=self._hang)
        self.setting(":LEVel", Number(-10, 10), lambda: self.level, lambda value: setattr(self, "level", value))

    def reset(self) -> None:
        self.level = 0.0

    def _hang(self) -> None:
        self.hangs.set()
        with self.world.lock.released():
            self._ended.wait()

    def interrupt(self) -> None:
        self._ended.set()

    def device_clear(self) -> None:
        self.hangs.clear()
        self._ended.clear()
