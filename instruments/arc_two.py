"""An ArC TWO board, which drives and senses up to 64 lines of passive crossbars by itself, through its maker's library.

Verified against: a fake of the library's calls around simulated dies (`sim_backend.emulators.arc_two`), and the names
and parameters of those calls in pyarc2 0.6.0; not on a board.

A read sets all lines and converts all its columns at once (`config_channels`, `read_slice_open_deferred`): the calls
for a whole crossbar (`read_slice`, `read_all`) leave other lines where they are, and one channel per line is what they
drive. A pulse sets the lines that wait, then has the high-speed driver of the pulsed line make the width
(`pulse_slice_fast_open`). Every message ends with all lines at ground, by the board itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np

from instruments.arc_two_options import AFTER, CHANNELS, STEP, Options, nanoseconds
from instruments.arc_two_plan import Plan, connected, levels_of, messages, wanted
from instruments.arc_two_session import Installed, Library, Session, boards
from labctl.core.bias import Bias, Nominal
from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.operations import Flag, Pulse, Reading, Sense
from labctl.core.source import ChannelState
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Second

MOST_CURRENT: Ampere = 12e-3
"""[?] What a channel drives, and reads, at most: 12 mA (Scientific Reports 12, 13912 (2022))."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Message:
    """Patterns that are carried out by one message.

    Args:
        pulses: their biases and width, or None. reads: their reads, or None.
    """

    pulses: tuple[Bias, Second] | None
    reads: Sense | None


@dataclass(frozen=True, eq=False)
class _Levels:
    """Levels of n patterns.

    Args:
        on: (n, lines), which are driven. volts: (n, lines) V. pulsed: (n, lines), which make the width of a pulse.
    """

    on: BoolArray
    volts: FloatArray
    pulsed: BoolArray

    @classmethod
    def of(cls, bias: Bias) -> Self:
        """Return the levels of a bias, as they are applied."""
        on, volts = connected(bias), STEP * levels_of(bias)
        alone = np.arange(on.shape[1]) == bias.pulsed[:, None]
        return cls(on, volts, np.where(bias.pulsed[:, None] < 0, on & (volts != 0.0), alone))

    def hold(self, session: Session, lines: IntArray, i: int, *, waiting: bool = False) -> None:
        """Have lines, (lines,) channels, at the levels of a pattern; those that will be pulsed at 0 V if `waiting`."""
        on, volts = self.on[i], self.volts[i]
        session.float(lines[~on])
        session.drive(lines[on], (np.where(self.pulsed[i], 0.0, volts) if waiting else volts)[on])


class ArcTwo(Plan):
    """An ArC TWO board.

    Args:
        name: in the bench file.
        library: pyarc2, or what is in its place.
    """

    def __init__(self, name: str, options: Options, library: Library) -> None:
        kernels = options.geometry.kernels
        super().__init__(options, Nominal.alike(2e-4, 1e-4, kernels), 1)
        self.name = name
        self._library = library
        self._session: Session | None = None
        self._broken = False
        """An operation broke off: what the board does is not known."""

    def connect(self) -> str:
        """Return the identity, without a serial number, which the library does not know; BenchError if it is absent.

        The board is not taken: that loads its firmware and sets its DACs.
        """
        present = boards(self.name, self._library)
        if self._options.id not in present:
            raise BenchError(
                f"{self.name}: there is no board {self._options.id}; of this computer are {present or 'none'}"
            )
        version = getattr(self._library.module(), "LIBARC2_VERSION", None)
        return f"ArC Instruments,ArC TWO,,libarc2 {version or 'of unknown version'}"

    # -- operations

    def _sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns."""
        each, most, applied = self._read_time(sense), self.patterns(False, sense), self._applied_read(sense)
        parts = [
            self._carry_out(_Message(None, applied.take(part)), each)
            for part in messages(sense.bias.kernel, most, each)
        ]
        return self._reading(sense, parts)

    def _pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses in order, each followed by its verify read; nothing is measured during a pulse."""
        self.check(pulse)
        each = self._pulse_time(pulse.bias, pulse.width)
        verify, most = pulse.verify, self.patterns(True, pulse.verify)
        bias, applied = self.without_bad(pulse.bias), None
        if verify is not None:
            each += self._read_time(verify)
            applied = self._applied_read(verify)
        parts = [
            self._carry_out(
                _Message((bias.take(part), pulse.width), None if applied is None else applied.take(part)), each
            )
            for part in messages(pulse.bias.kernel, most, each)
        ]
        n = len(pulse)
        if verify is None:
            return Reading(np.zeros((n, 0)), np.zeros((n, 0), np.uint8), np.zeros(n, np.uint8))
        return self._reading(verify, parts)

    def _applied_read(self, sense: Sense) -> Sense:
        """Return a read whose bad lines float."""
        return replace(sense, bias=self.without_bad(sense.bias))

    def _carry_out(self, message: _Message, each: Second) -> FloatArray:
        """Send one message; return the currents (n, m) A of its reads as the library gives them."""
        return self._taken(lambda session: self._sent(session, message, each))

    def _sent(self, session: Session, message: _Message, each: Second) -> FloatArray:
        pulses, reads, options = message.pulses, message.reads, self._options
        bias = pulses[0] if pulses else reads.bias if reads else None
        assert bias is not None
        n, n_rows = bias.row.shape
        lines = options.kernels[int(bias.kernel[0])].lines
        session.ground(np.setdiff1d(np.arange(CHANNELS), lines))
        levels = pulses and _Levels.of(pulses[0])
        read = reads and _Levels.of(reads.bias)
        conversions = options.conversions(reads.aperture) if reads else 0
        asked = wanted(reads) & connected(reads.bias)[:, n_rows:] if reads else np.zeros((n, 0), np.bool_)
        for i in range(n):
            if pulses and levels:
                levels.hold(session, lines, i, waiting=True)
                nanos = nanoseconds(pulses[1])
                pulsed = levels.pulsed[i]
                if pulsed.any():
                    session.pulse(lines[pulsed], levels.volts[i, pulsed], nanos)
                session.delay(nanos * 1e-9 + AFTER)
                session.down()
            if read:
                read.hold(session, lines, i)
                session.delay(options.settle)
                if asked[i].any():
                    session.read(lines[n_rows:][asked[i]], conversions)
                session.down()
        session.rest()
        session.send(options.message + n * each)
        if reads is None:
            return np.zeros((n, 0))
        nothing = np.full(reads.cols.shape[1], np.nan)
        return np.array(
            [
                session.currents(lines[n_rows + reads.cols[i]], conversions) if asked[i].any() else nothing
                for i in range(n)
            ]
        )

    def _reading(self, sense: Sense, parts: list[FloatArray]) -> Reading:
        """Return what was read as currents out of columns, flagged."""
        given = np.concatenate([np.zeros((0, sense.cols.shape[1])), *parts])
        current = -given if self._options.positive == "into_die" else given
        unread = ~np.isfinite(current)
        current = np.where(unread, 0.0, current)
        on = connected(self.without_bad(sense.bias))
        floating = ~np.take_along_axis(on[:, self.geometry.n_rows :], sense.cols, axis=1)
        void = ~self.reached(sense.bias)[:, None]
        flag = np.where(unread | floating | void, int(Flag.INVALID), 0)
        flag |= np.where(np.abs(current) >= MOST_CURRENT, int(Flag.OVERRANGE), 0)
        flag |= np.where(np.abs(current) > sense.bias.compliance, int(Flag.COMPLIANCE), 0)
        return Reading(current, flag.astype(np.uint8), np.zeros(len(sense), np.uint8))

    # -- session

    def _taken(self, act: Callable[[Session], T]) -> T:
        """Return the result of `act` on the session, which is given up if it fails."""
        try:
            if self._session is None:
                self._session = Session(self.name, self._library, self._options)
                self._session.make_safe()
            return act(self._session)
        except BaseException:
            self._broken = True
            self.close()
            raise

    def idle(self) -> None:
        """Have every line at rest: each message ends so; after one that broke off the board is made safe."""
        if self._broken:
            self.off()

    def state(self) -> Mapping[str, ChannelState]:
        """Return the lines that do not read 0 V; none of a board that is not taken, which tells nothing."""
        if self._session is None:
            return {}
        away = self._taken(lambda session: session.away())
        return {f"channel{c}": ChannelState(True, v, MOST_CURRENT) for c, v in away.items()}

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return what is known of the board."""
        if self._session is None:
            return ["not taken: what its channels do is not known; taking it loads its firmware"], []
        return ["taken: every message ends with all lines at ground"], []

    def off(self) -> None:
        """Take the board if it is not, bring every channel to 0 V and then to ground; raise if a line is elsewhere."""
        self._taken(lambda session: session.make_safe())
        self._broken = False

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """The same from the firmware on; what was on before cannot be read, and is not returned."""
        self.close()
        self.off()
        return {}

    def verify_off(self) -> None:
        """Read the voltage of every line; InstrumentError if one is not at 0 V, or the board is not taken."""
        if self._session is None:
            raise InstrumentError(f"{self.name}: not taken: whether it is off is not known")
        if away := self.state():
            raise InstrumentError(f"{self.name}: {', '.join(away)} are NOT at rest")

    def close(self) -> None:
        """Give the board back; its lines stay at ground."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _make(name: str, options: Options, library: Library | None = None) -> ArcTwo:
    """Return the driver of an ArC TWO board."""
    return ArcTwo(name, options, library or Installed())


DRIVER = Driver(
    DriverKind.BOARD,
    _make,
    Options,
    Wire.NONE,
    geometry=lambda options: options.geometry,
    planned=Plan,
    emulator="arc_two",
    location=lambda options: f"ArC TWO number {options.id}",
)
