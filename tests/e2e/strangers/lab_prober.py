"""A prober that somebody else wrote, in the dialect of SENTIO.

Verified against: the contract of probers, and the emulated SENTIO.
"""

from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import ContactError, InstrumentError
from labctl.core.prober import Position
from labctl.core.switch_matrix import refuse
from labctl.core.transport import Wait

QUESTION, NEAR = "*RCS 1\nstatus:get_version", 2.0


class Chuck:
    def __init__(self, name, options, wire):
        self.name, self.permit, self._wire, self._up = name, refuse, wire, False

    def connect(self):
        return self._ask(QUESTION)

    def step(self, col, row, subsite=None):
        self.separate()
        self.permit()
        self._ask("set_stepping_contact_mode StepToSeparation")
        there = [col, row, 0 if subsite is None else subsite.number]
        here = self._ask("map:step_die " + ", ".join(map(str, there)), Wait.MOTION)
        if [int(part) for part in here.split(",")] != there or not self._clear():
            raise InstrumentError(f"{self.name} stands at {here}; {there}, separated, was expected")
        return Position(col, row)

    def contact(self):
        if not self.in_contact():
            self.permit()
            self._up = False
            self._ask("move_chuck_contact", Wait.MOTION)
        if not self.in_contact():
            raise ContactError(f"{self.name}: the chuck did not reach contact")

    def separate(self):
        if not self.separated():
            self.permit()
            self._ask("move_chuck_separation", Wait.MOTION)
            if not self._clear():
                raise InstrumentError(f"{self.name}: the chuck did not separate")
            self._up = True

    def in_contact(self):
        return self._height() >= self._heights()[0] - NEAR

    def separated(self):
        return self._up and self._clear()

    def close(self):
        self._wire.close()

    def _clear(self):
        contact, gap = self._heights()[0], self._heights()[2]
        return self._height() <= contact - gap + NEAR

    def _heights(self):
        return [float(part) for part in self._ask("get_chuck_site_heights Wafer").split(",")]

    def _height(self):
        return float(self._ask("get_chuck_z Z").split(",")[0])

    def _ask(self, command, wait=Wait.QUERY):
        code, _, text = self._wire.query(command, wait=wait).split(",", 2)
        if int(code) & 1023:
            raise InstrumentError(f"{self.name} refused '{command}': {text.strip()}")
        return text.strip()


DRIVER = Driver(DriverKind.PROBER, Chuck, question=QUESTION, emulator="mpi_sentio")
