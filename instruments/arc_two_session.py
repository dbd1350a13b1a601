"""An ArC TWO board that is taken: pyarc2's `Instrument`, every call of which is bounded and its errors named.

The library sends a list of commands as one message, which the board then carries out by itself, and keeps what it
measures until it is fetched. Its own `wait`, and every call that waits, goes on for ever on a board that is gone: such
calls are not used. Its native part may panic, which is no `Exception`. After any error the commands that it has listed
are still there and would go with the next message: a session that failed is given up, and with it that list.

Source: documentation of pyarc2 0.6 (github.com/arc-instruments/pyarc2). What the library cannot tell: what channels do
before it has loaded the firmware, and whether a channel is open.
"""

import importlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from instruments.arc_two_options import CHANNELS, CLUSTER, STEP, Options
from labctl.core.errors import BenchError, InstrumentError, LabError, LinkTimeoutError
from labctl.core.units import FloatArray, IntArray, Second, Volt

WITHIN: Volt = STEP / 4
"""What a level is given above that of its code: the library divides by 0.305179 mV and rounds, which would miss codes
above 4.4 V; so it finds the code that is meant over the whole reach."""
POLL: Second = 1e-3
"""From one question whether the board is busy to the next."""


class Library(Protocol):
    """The vendor's library, and a clock."""

    def module(self) -> Any:
        """Return the module pyarc2; BenchError if it cannot be used."""
        ...

    def now(self) -> Second:
        """Return the time, s."""
        ...

    def wait(self, seconds: Second) -> None:
        """Let a time pass, s."""
        ...


class Installed:
    """pyarc2 as it is installed, which is imported when the board is connected."""

    def module(self) -> Any:
        """Return the module; BenchError if it is not installed, or does not load."""
        try:
            return importlib.import_module("pyarc2")
        except Exception as error:
            raise BenchError(
                "the driver 'arc_two' needs the vendor's library pyarc2, for Linux and Windows on x86-64: "
                f"pip install 'mtj-labctl[arctwo]' ({type(error).__name__}: {error})"
            ) from error

    def now(self) -> Second:
        """Return the monotonic time of the computer, s."""
        return time.monotonic()

    def wait(self, seconds: Second) -> None:
        """Sleep."""
        time.sleep(seconds)


@contextmanager
def errors_named(name: str, call: str) -> Iterator[None]:
    """Turn whatever a call of the library raises into an InstrumentError, its panics too."""
    try:
        yield
    except (LabError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise InstrumentError(f"{name}: {call} failed: {type(error).__name__}: {error}") from error


def boards(name: str, library: Library) -> list[int]:
    """Return the numbers of the boards of this computer; nothing is sent to any of them."""
    module = library.module()
    with errors_named(name, "find_ids"):
        return [int(number) for number in module.find_ids()]


class Session:
    """One board, with its firmware loaded, its logic at 3.3 V and all DACs at 0 V.

    Args:
        name: in the bench file.
        library: pyarc2, or what is in its place.

    Raises:
        BenchError: there is no such board, or no firmware.
        InstrumentError: the library refused.
    """

    def __init__(self, name: str, library: Library, options: Options) -> None:
        self._name, self._library, self._options = name, library, options
        self._module = module = library.module()
        present = boards(name, library)
        if options.id not in present:
            raise BenchError(f"{name}: there is no board {options.id}; of this computer are {present or 'none'}")
        if isinstance(library, Installed) and not Path(options.firmware).is_file():
            raise BenchError(f"{name}: there is no firmware {options.firmware}; its maker has it")
        with errors_named(name, "Instrument"):
            self._arc: Any = module.Instrument(options.id, options.firmware)
        mode = module.ControlMode.Internal if options.control == "internal" else module.ControlMode.Header
        try:
            self.queue("set_control_mode", mode)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the library's instrument, which has no call for that; the board can be taken anew."""
        self._arc = None

    def queue(self, call: str, *arguments: Any) -> None:
        """List a command for the next message."""
        with errors_named(self._name, call):
            getattr(self._arc, call)(*arguments)

    # -- commands

    def ground(self, channels: IntArray) -> None:
        """Connect these channels to ground, and no others."""
        self.queue("connect_to_gnd", channels.astype(np.uint64))

    def drive(self, channels: IntArray, volts: FloatArray) -> None:
        """Have channels at voltages; others stay."""
        pairs = zip(channels.tolist(), (volts + WITHIN).tolist(), strict=True)
        self.queue("config_channels", list(pairs), None)

    def float(self, channels: IntArray) -> None:
        """Disconnect channels."""
        if len(channels):
            self.queue("open_channels", channels.tolist())

    def read(self, channels: IntArray, conversions: int) -> None:
        """Convert the currents of channels, which stay as they are."""
        for _ in range(conversions):
            self.queue("read_slice_open_deferred", channels.astype(np.uint64), False)

    def pulse(self, channels: IntArray, volts: FloatArray, nanos: int) -> None:
        """Pulse channels from 0 V to voltages and back; the drivers wait at 0 V before."""
        widths: list[int | None] = [None] * (CHANNELS // CLUSTER)
        for cluster in np.unique(channels // CLUSTER):
            widths[cluster] = nanos
        triples = [(c, v, WITHIN) for c, v in zip(channels.tolist(), (volts + WITHIN).tolist(), strict=True)]
        self.queue("pulse_slice_fast_open", triples, widths, True)

    def delay(self, seconds: Second) -> None:
        """Have the board wait."""
        self.queue("delay", round(seconds * 1e9))

    def down(self) -> None:
        """Set all DACs to 0 V; channels stay as they are connected."""
        self.queue("ground_all_fast")

    def rest(self) -> None:
        """Set all DACs to 0 V, disconnect all channels from them, and connect all to ground."""
        self.queue("ground_all_fast")
        self.queue("float_all")
        self.ground(np.arange(CHANNELS))

    # -- messages

    def send(self, seconds: Second) -> None:
        """Send what is listed, and wait until the board has done it.

        Args:
            seconds: that it takes, as predicted.

        Raises:
            LinkTimeoutError: it is busy `deadline` longer.
        """
        library, patience = self._library, seconds + self._options.deadline
        self.queue("execute")
        end = library.now() + patience
        while True:
            with errors_named(self._name, "busy"):
                busy = self._arc.busy()
            if not busy:
                return
            if library.now() > end:
                raise LinkTimeoutError(
                    f"{self._name}: still busy after {patience:.3g} s, or gone: look at its USB cable and its supply"
                )
            library.wait(POLL)

    def currents(self, channels: IntArray, conversions: int) -> FloatArray:
        """Return the mean of as many conversions of channels (k,), A as the library gives them; NaN for none."""
        values = [self._fetch(self._module.ReadType.Current)[channels] for _ in range(conversions)]
        return np.asarray(np.mean(values, axis=0))

    def voltages(self) -> FloatArray:
        """Return the voltages of one conversion, of all channels."""
        return self._fetch(self._module.ReadType.Voltage)

    def _fetch(self, kind: Any) -> FloatArray:
        with errors_named(self._name, "pick_one"):
            values = self._arc.pick_one(self._module.DataMode.All, kind)
        if values is None or np.shape(values) != (CHANNELS,):
            raise InstrumentError(f"{self._name}: pick_one gave {values!r}; expected {CHANNELS} values")
        return np.asarray(values, np.float64)

    # -- rest, verified

    def make_safe(self) -> None:
        """Bring every channel to 0 V, then to ground; InstrumentError if a line does not read 0 V at either.

        That they are disconnected from their DACs cannot be read.
        """
        used = self._options.used
        self.ground(np.arange(0))
        self.queue("ground_all")
        self.queue("vread_channels_deferred", used.astype(np.uint64), False)
        self.rest()
        self.queue("vread_channels_deferred", used.astype(np.uint64), False)
        self.send(self._options.message)
        for state in ("driven to 0 V", "at ground"):
            self._require_zero(self.voltages(), state)

    def away(self) -> dict[int, Volt]:
        """Return the channels in use that do not read 0 V now, and their voltages."""
        self.queue("vread_channels_deferred", self._options.used.astype(np.uint64), False)
        self.send(self._options.message)
        return self._away(self.voltages())

    def _away(self, volts: FloatArray) -> dict[int, Volt]:
        used: Sequence[int] = self._options.used.tolist()
        return {c: float(volts[c]) for c in used if not abs(volts[c]) <= self._options.at_rest}

    def _require_zero(self, volts: FloatArray, state: str) -> None:
        if away := self._away(volts):
            words = ", ".join(f"channel {c} at {v:.4g} V" for c, v in away.items())
            raise InstrumentError(f"{self._name}: NOT at rest when {state}: {words}")
