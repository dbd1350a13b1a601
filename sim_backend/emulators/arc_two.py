"""A fake of pyarc2, the library of the maker of ArC TWO: its calls, around simulated passive dies.

It is a fake of calls and not of bytes: what the library sends to the board is not emulated. Faked are the module's
`find_ids`, `Instrument`, `ControlMode`, `DataMode`, `ReadType`, `ArC2Error` and `LIBARC2_VERSION`, and of `Instrument`
the calls in `CALLS`; every other name of the module or of an instrument is an `Unfaked` error.

Source: documentation of pyarc2 0.6 and libarc2 0.6, by which commands are listed and begin with `execute`. [?]: that
high-speed drivers need no time beyond their pulses, and that a message that was sent ends without the computer.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from random import Random
from typing import Any, Self
from weakref import ref

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.units import FloatArray, IntArray, Second
from sim_backend.chip import ChipDie
from sim_backend.die import SimDie
from sim_backend.emulators.arc_two_channels import CHANNELS, CLUSTER, Channels, Switch, code, level
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.world import World

CALLS = (
    "busy",
    "config_channels",
    "connect_to_gnd",
    "delay",
    "execute",
    "float_all",
    "ground_all",
    "ground_all_fast",
    "open_channels",
    "pick_one",
    "pulse_slice_fast_open",
    "read_slice_open_deferred",
    "set_control_mode",
    "vread_channels_deferred",
)
"""Calls of an instrument that are faked."""
UPDATE: Second = 30e-6
PREPARE: Second = 100e-6
VOLTAGE: Second = 10e-6
"""Times that the library's documentation has: after a change of levels, at ground before one, and of a voltage."""
_LONGEST = 500_000_000
_SHORTEST = 40


class ControlMode(Enum):
    """Where the die is."""

    Header = 1
    Internal = 2


class DataMode(Enum):
    """Which channels a result has."""

    All = 1
    Bits = 2
    Words = 3


class ReadType(Enum):
    """What a result is taken for."""

    Current = 1
    Voltage = 2


class ArC2Error(Exception):
    """Error of the library."""


class PanicException(BaseException):
    """How the native part of the library ends; not an `Exception`, as that of Rust in Python."""


class Unfaked(AttributeError):
    """A name of pyarc2 that this fake does not have."""


class FakeBoard:
    """One board, and what may go wrong with it.

    Args:
        number: as `find_ids` gives it.
        conversion: time of a conversion of currents, s. message: of a message. fetch: of a result.
    """

    def __init__(
        self,
        number: int,
        channels: Channels,
        world: World,
        *,
        conversion: Second = 320e-6,
        message: Second = 5e-3,
        fetch: Second = 500e-6,
    ) -> None:
        self.number, self.channels, self.world = number, channels, world
        self.conversion, self.message, self.fetch = conversion, message, fetch
        self.sessions = 0
        self.present, self.hangs = True, False
        """Whether its cable is in, and whether it never finishes."""
        self.stuck = False
        """Whether it does not finish before its firmware is loaded anew."""
        self.begins: Callable[[], None] = lambda: None
        """Called when a message is sent, before anything of it happens; what it raises is what the library does."""
        self.fails: dict[str, BaseException] = {}
        """What a call of the library raises, once."""
        self.messages = 0
        self.handle: Callable[[], Handle | None] = lambda: None
        """Returns what a program has of the open board, if it is open."""

    def lost(self) -> None:
        """Pull the cable: nothing is heard of the board, which goes on with what it has."""
        self.present = False

    def leave(self, rng: Random) -> str:
        """Leave a channel in use as another program may have; return it in words."""
        channel = rng.randrange(CHANNELS)
        volts = round(rng.uniform(-1.0, 1.0), 3)
        own = self.channels.high.copy()
        own[channel] = volts
        self.channels.ground(np.arange(0))
        self.channels.load(own, own)
        self.channels.turn(np.array([channel]), rng.choice([Switch.LEVEL, Switch.PULSE]))
        return f"channel {channel} at {volts} V"

    def leave_levels(self, rng: Random) -> str:
        """Leave DACs at levels as another program may have, with no channel connected; return them in words."""
        low, high = (np.array([round(rng.uniform(-1.0, 1.0), 3) for _ in range(CHANNELS)]) for _ in range(2))
        self.channels.ground(np.arange(0))
        self.channels.turn(np.arange(CHANNELS), Switch.OPEN)
        self.channels.load(low, high)
        return f"DACs at up to {max(abs(low).max(), abs(high).max())} V"

    def leave_at_ground(self, rng: Random) -> str:
        """Leave some channels at ground and all others open; return them in words."""
        some = sorted(rng.sample(range(CHANNELS), rng.randrange(1, CHANNELS)))
        self.channels.turn(np.arange(CHANNELS), Switch.OPEN)
        self.channels.ground(np.array(some))
        return f"channels {some} at ground"


class FakeModule:
    """The module pyarc2, with one board on the computer."""

    ControlMode, DataMode, ReadType, ArC2Error = ControlMode, DataMode, ReadType, ArC2Error
    LIBARC2_VERSION = "0.6 (a fake of its calls)"

    def __init__(self, board: FakeBoard) -> None:
        self._board = board

    def find_ids(self) -> list[int]:
        """Return the numbers of boards."""
        return [self._board.number] if self._board.present else []

    def Instrument(self, port: int, firmware: str, init: bool = True) -> "Handle":
        """Load the firmware, and bring DACs to 0 V if `init`; ArC2Error while the board is open already [?]."""
        if port not in self.find_ids():
            raise ArC2Error(f"Invalid ArC2 device id: {port}")
        if self._board.handle() is not None:
            raise ArC2Error("FPGA Error: the USB device is open already")
        self._board.stuck = False
        handle = Handle(FakeInstrument(self._board, init))
        self._board.handle = ref(handle)
        return handle

    def __getattr__(self, name: str) -> Any:
        raise Unfaked(f"pyarc2.{name} is not faked")


class Handle:
    """What a program has of an instrument: the board is open while there is a reference to it, and no longer.

    No frame of a call of the instrument refers to it, as none of native code does, so that an error keeps nothing open.
    """

    def __init__(self, instrument: "FakeInstrument") -> None:
        self._instrument = instrument

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instrument, name)

    def __dir__(self) -> list[str]:
        return dir(self._instrument)


def _channels(of: Iterable[int]) -> IntArray:
    """Return channels as whole numbers; OverflowError and IndexError as the library's for others."""
    numbers = np.asarray(of if isinstance(of, np.ndarray) else list(of), np.int64).reshape(-1)
    if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < CHANNELS:
        raise PanicException(f"index out of bounds: there are {CHANNELS} channels")
    return numbers


class FakeInstrument:
    """`pyarc2.Instrument`: commands are listed and carried out by `execute`."""

    def __init__(self, board: FakeBoard, init: bool) -> None:
        self._board, self._own = board, board.channels
        self._list: list[tuple[str, Callable[[], None]]] = []
        self._results: list[tuple[ReadType, FloatArray]] = []
        self._prepare: set[int] = set(range(CHANNELS))
        """Channels that are held at ground before they take a level."""
        board.sessions += 1
        self._own.begins()
        if init:
            self._own.load(np.zeros(CHANNELS), np.zeros(CHANNELS))

    def __getattr__(self, name: str) -> Any:
        raise Unfaked(f"pyarc2.Instrument.{name} is not faked; faked are {', '.join(CALLS)}")

    def _call(self, name: str) -> None:
        if name in self._board.fails:
            raise self._board.fails.pop(name)

    def _then(self, name: str, act: Callable[[], None]) -> Self:
        self._call(name)
        self._list.append((name, act))
        return self

    # -- commands

    def set_control_mode(self, mode: ControlMode) -> Self:
        """Choose where the die is."""
        return self._then("set_control_mode", lambda: None)

    def delay(self, nanos: int) -> Self:
        """Wait."""
        return self._then("delay", lambda: self._own.wait(nanos * 1e-9))

    def connect_to_gnd(self, chans: Iterable[int]) -> Self:
        """Connect channels to ground, and no others."""
        channels = _channels(chans)
        return self._then("connect_to_gnd", lambda: self._own.ground(channels))

    def open_channels(self, channels: Iterable[int]) -> Self:
        """Disconnect channels from DACs and from ground."""
        chosen = _channels(channels)

        def act() -> None:
            self._own.ground(np.setdiff1d(np.flatnonzero(self._own.grounded), chosen))
            self._own.turn(chosen, Switch.OPEN)
            self._prepare.update(chosen.tolist())

        return self._then("open_channels", act)

    def float_all(self) -> Self:
        """Disconnect all channels from DACs and from ground."""

        def act() -> None:
            self._own.ground(np.arange(0))
            self._own.turn(np.arange(CHANNELS), Switch.OPEN)
            self._prepare.update(range(CHANNELS))

        return self._then("float_all", act)

    def ground_all_fast(self) -> Self:
        """Set all DACs to 0 V."""
        return self._then("ground_all_fast", self._zero)

    def ground_all(self) -> Self:
        """Set all DACs to 0 V and connect all channels to them."""

        def act() -> None:
            self._zero()
            self._prepared(np.arange(CHANNELS))
            self._own.turn(np.arange(CHANNELS), Switch.LEVEL)

        return self._then("ground_all", act)

    def _zero(self) -> None:
        self._own.load(np.zeros(CHANNELS), np.zeros(CHANNELS))
        self._own.wait(UPDATE)

    def _prepared(self, channels: IntArray) -> None:
        """Hold channels that come out of the open, or of a pulse, at ground."""
        chosen = np.array(sorted(self._prepare & set(channels.tolist())), np.int64)
        if not len(chosen):
            return
        self._prepare -= set(chosen.tolist())
        low, high = self._own.low.copy(), self._own.high.copy()
        low[chosen] = high[chosen] = 0.0
        self._own.load(low, high)
        self._own.wait(UPDATE)
        grounded = np.flatnonzero(self._own.grounded)
        self._own.ground(np.union1d(grounded, chosen))
        self._own.wait(PREPARE)
        self._own.ground(np.setdiff1d(grounded, chosen))

    def config_channels(self, input: Iterable[tuple[int, float]], base: float | None = None) -> Self:
        """Have channels at voltages, others where they are, or at `base`."""
        pairs = list(input)
        channels = _channels([channel for channel, _ in pairs])
        volts = level(self._codes([v for _, v in pairs]))
        if base is not None:
            raise Unfaked("config_channels with a base is not faked")

        def act() -> None:
            self._prepared(channels)
            self._own.turn(channels, Switch.LEVEL)
            low, high = self._own.low.copy(), self._own.high.copy()
            low[channels] = high[channels] = volts
            self._own.load(low, high)
            self._own.wait(UPDATE)

        return self._then("config_channels", act)

    def _codes(self, volts: list[float]) -> IntArray:
        self._own.audit.clipped += int((np.abs(volts) > 10.0).sum()) if volts else 0
        return code(volts)

    def pulse_slice_fast_open(
        self, chans: list[tuple[int, float, float]], cl_nanos: list[int | None], preset_state: bool
    ) -> Self:
        """Pulse channels from a normal voltage, each cluster with its width and in one direction."""
        if len(cl_nanos) != CHANNELS // CLUSTER:
            raise ValueError("Need 8 arguments for cluster timings")
        if not preset_state:
            raise Unfaked("pulse_slice_fast_open without preset_state is not faked")
        channels = _channels([channel for channel, _, _ in chans])
        active, normal = (self._codes([triple[k] for triple in chans]) for k in (1, 2))
        widths: dict[int, Second] = {}
        for cluster in np.unique(channels // CLUSTER).tolist():
            nanos = cl_nanos[cluster]
            if nanos is None:
                raise ArC2Error(f"HS Channel has no timing associated on cluster {cluster}")
            if nanos > _LONGEST:
                raise ArC2Error("HS Channel pulse width too long")
            down = (active <= normal)[channels // CLUSTER == cluster]
            if down.any() and not down.all():
                raise ArC2Error("Attempting to toggle a previously set HS polarity bit")
            widths[cluster] = (max(nanos, _SHORTEST) if nanos else 0) * 1e-9

        def act() -> None:
            self._prepare.update(channels.tolist())
            for inverted in (True, False):
                self._own.turn(channels[(active <= normal) == inverted], Switch.PULSE, up=inverted)
            low, high = self._own.low.copy(), self._own.high.copy()
            low[channels], high[channels] = level(np.minimum(active, normal)), level(np.maximum(active, normal))
            self._own.load(low, high)
            self._own.wait(UPDATE)
            self._own.flip(channels, widths)

        return self._then("pulse_slice_fast_open", act)

    def read_slice_open_deferred(self, highs: Iterable[int], ground_after: bool = True) -> Self:
        """Convert currents of channels; those that were open are connected to their DACs."""
        channels = _channels(highs)
        if ground_after:
            raise Unfaked("read_slice_open_deferred with ground_after is not faked")

        def act() -> None:
            self._prepared(channels)
            self._own.turn(channels, Switch.LEVEL)
            self._results.append((ReadType.Current, self._own.convert(channels, self._board.conversion)))

        return self._then("read_slice_open_deferred", act)

    def vread_channels_deferred(self, chans: Iterable[int], averaging: bool) -> Self:
        """Convert voltages of channels."""
        channels = _channels(chans)
        if averaging:
            raise Unfaked("vread_channels_deferred with averaging is not faked")

        def act() -> None:
            self._results.append((ReadType.Voltage, self._own.voltages(channels, VOLTAGE)))

        return self._then("vread_channels_deferred", act)

    # -- messages

    def execute(self) -> Self:
        """Carry out what is listed; a board that hangs carries out nothing."""
        self._call("execute")
        board = self._board
        board.begins()
        if not board.present:
            raise ArC2Error("FPGA Error: USB device not found")
        with board.world.lock:
            board.messages += 1
            board.world.count_message()
            self._own.wait(board.message)
            acts, self._list = self._list, []
            for name, act in () if board.hangs or board.stuck else acts:
                if self._own.pulsing and name != "delay":
                    self._own.audit.faults.append(f"{name} while a pulse was on")
                act()
        return self

    def busy(self) -> bool:
        """Whether commands are left, also when nothing is heard of the board."""
        self._call("busy")
        return self._board.hangs or self._board.stuck or not self._board.present

    def pick_one(self, mode: DataMode, rtype: ReadType) -> FloatArray | None:
        """Return the oldest result, None if there is none; of another kind it is no number."""
        self._call("pick_one")
        if mode is not DataMode.All:
            raise Unfaked(f"pick_one of {mode} is not faked")
        if not self._results:
            return None
        with self._board.world.lock:
            self._own.wait(self._board.fetch)
        kind, values = self._results.pop(0)
        return values if kind is rtype else np.full(CHANNELS, np.nan)


class FakeLibrary:
    """pyarc2 and the clock of its world, in place of the installed library and the computer's clock."""

    def __init__(self, board: FakeBoard) -> None:
        self.board = board
        self._module = FakeModule(board)

    def module(self) -> FakeModule:
        """Return the module."""
        return self._module

    def now(self) -> Second:
        """Return the time of the world, s."""
        return self.board.world.now

    def wait(self, seconds: Second) -> None:
        """Let a time pass in the world, s."""
        with self.board.world.lock:
            self.board.channels.wait(seconds)

    def seek(self, operation: int) -> None:
        """Set the random stream of the noise to the number of an operation."""
        self.board.channels.seek(operation)

    def touch(self, die: SimDie | ChipDie | None) -> None:
        """Have needles on a die, or on none; BenchError if the board is not wired to such dies."""
        channels = self.board.channels
        if die is not None and (not isinstance(die, SimDie) or die.geometry.shape != channels.die.geometry.shape):
            raise BenchError(f"the board is wired to dies like {channels.die.name}; die {die.name} is none")
        channels.touch(die)

    def hot(self) -> str:
        """Return what is live at the lines, in words."""
        return self.board.channels.hot()

    def leftovers(self) -> dict[str, Leave]:
        """Return how each part of the board is left, as by another program that has ended."""
        board = self.board
        return {"channel": board.leave, "levels": board.leave_levels, "grounded": board.leave_at_ground}


def emulate(name: str, options: Any, context: EmulatorContext) -> FakeLibrary:
    """Return the fake library with the board of an entry of the bench file.

    Raises:
        BenchError: the die of the bench is no passive one of the board's shape.
    """
    die = context.die
    if not isinstance(die, SimDie):
        raise BenchError(f"{name} drives passive dies; the die of this bench is none")
    kernels = np.array([kernel.lines for kernel in options.kernels])
    own = len(kernels), len(options.kernels[0].rows), len(options.kernels[0].cols)
    if die.geometry.shape != own:
        raise BenchError(f"{name} is wired to kernels of shape {own}; the die has {die.geometry.shape}")
    channels = Channels(
        die,
        kernels,
        context.world,
        seed=context.seed,
        ideal=context.ideal,
        offset=context.offset,
        gain=context.gain,
    )
    board = FakeBoard(
        options.id,
        channels,
        context.world,
        conversion=options.conversion,
        message=options.message,
        fetch=options.fetch,
    )
    return FakeLibrary(board)
