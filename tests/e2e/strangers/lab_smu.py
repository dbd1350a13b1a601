"""PyMeasure's driver of the Keithley 2600, as a source of a bench.

Verified against: the contract of sources, and the emulated 2600B.
"""

import math
from typing import Literal

from pymeasure.adapters import Adapter
from pymeasure.instruments.keithley import Keithley2600

from instruments.host_timed import HostTimedSource
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.model import Model
from labctl.core.source import ChannelState, SourceCapabilities

LINE, OVERFLOW = 60.0, 9e37


class Options(Model):
    """Options in the bench file."""

    model: Literal["2602B", "2604B"] = "2602B"


class OverWire(Adapter):
    """PyMeasure's adapter over the wire of the suite, which has no read without a question."""

    def __init__(self, wire):
        super().__init__()
        self.wire, self.question = wire, ""

    def _write(self, command, **kwargs):
        if "print(" in command or command.endswith("?"):
            self.question = command
        else:
            self.wire.write(command)

    def _read(self, **kwargs):
        return self.wire.query(self.question)


def capabilities(options):
    ranges_v, ranges_i = (0.1, 1.0, 6.0, 40.0), (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
    apertures = (1e-3 / LINE, 25 / LINE)
    return SourceCapabilities(f"PyMeasure {options.model}", ("smua", "smub"), ranges_v, ranges_i, 5e-3, apertures)


class Source(HostTimedSource):
    def __init__(self, name, options, wire):
        super().__init__(name, capabilities(options))
        self.wire, self.model = wire, options.model
        self.box = Keithley2600(OverWire(wire), includeSCPI=False)
        self.smu = {"smua": self.box.ChA, "smub": self.box.ChB}

    def identify(self):
        identity = self.box.ask("*IDN?").strip()
        if self.model not in identity:
            raise BenchError(f"{self.name}: '{identity}' answers; a {self.model} was expected")
        return identity

    def read_state(self, channel):
        smu = self.smu[channel]
        return ChannelState(smu.source_output == "ON", smu.source_voltage, smu.compliance_current)

    def set_up(self, channel, range_v, setup):
        smu = self.smu[channel]
        smu.source_mode = "voltage"
        smu.source_voltage_range = range_v
        smu.write("source.offmode=0 ")
        smu.write("measure.delay=0")
        self.errors()

    def set_level(self, channel, volts):
        self.smu[channel].source_voltage = volts

    def set_limit(self, channel, limit, range_i):
        self.smu[channel].write(f"source.limiti={limit:.9g}")  # its own property sends six decimals
        self.smu[channel].write(f"measure.rangei={range_i:.9g}")
        self.errors()

    def set_output(self, channel, on):
        self.smu[channel].source_output = "ON" if on else "OFF"

    def set_aperture(self, channel, seconds):
        self.smu[channel].write(f"measure.nplc={seconds * LINE:.9g}")

    def pause(self, seconds):
        self.box.write(f"delay({seconds:.9g})")

    def limited(self, channel):
        return self.box.ask(f"print({channel}.source.compliance)").strip() == "true"

    def measure(self, channel, voltage):
        current = self.smu[channel].current
        return math.nan if abs(current) > OVERFLOW else current, self.smu[channel].voltage if voltage else math.nan

    def close(self):
        self.wire.close()

    def errors(self):
        code, text = self.box.next_error
        if code != 0:
            raise InstrumentError(f"{self.name}: {code} {text}")


DRIVER = Driver(
    DriverKind.SOURCE, Source, Options, capabilities=capabilities, emulator="keithley2600b", dead_socket=5030
)
