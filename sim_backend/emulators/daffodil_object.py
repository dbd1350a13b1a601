"""A fake of an object of the public library of a Daffodil board's makers: its calls, around an emulated board.

Faked are attributes and calls of a `Daffodil_Base` in `CALLS` and `ATTRIBUTES`; every other name is an `Unfaked` error.
What is refused is refused as there: volts of columns beyond the chip in the mode of reads, those of gates always, and
nothing in the mode of writes.

Source: daffodillib 1b64a41, `Board/controller.py` and `Board/Components`.
"""

from dataclasses import dataclass, field
from typing import Any

from labctl.boards.daffodil import registers as reg
from labctl.core.units import Second, Volt
from sim_backend.chip import ChipDie
from sim_backend.die import SimDie
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.daffodil import board_of, chip_for, hot
from sim_backend.emulators.daffodil_analog import FULL, STEPS
from sim_backend.emulators.daffodil_board import EmulatedBoard

CALLS = (
    "config_forward_pass",
    "config_outerproduct",
    "event",
    "retrievecurrent_channel",
    "set_compliance_control",
    "set_dpot_D",
    "set_kernel",
    "setcoldac_channel",
    "setgatedac_channel",
    "setrefopamp",
    "setrowdac_channel",
)
OUTPUTS = {
    "RA0": reg.RA0,
    "RA1": reg.RA1,
    "CA1": reg.CA1,
    "LSB": reg.ARRAY_LSB,
    "MSB": reg.ARRAY_MSB,
    "compliance_control": reg.FULL_POWER,
    "write_mode_R": reg.WRITE_R,
    "ext_mode_R": reg.EXTERNAL_R,
    "EN_IO_R": reg.ENABLE_R,
    "write_mode_C": reg.WRITE_C,
    "ext_mode_C": reg.EXTERNAL_C,
    "EN_IO_C": reg.ENABLE_C,
    "write_mode_G": reg.WRITE_G,
    "ext_mode_G": reg.EXTERNAL_G,
    "EN_IO_G": reg.ENABLE_G,
}
"""Attributes that are outputs of the board."""
ATTRIBUTES = (
    *OUTPUTS,
    "kernels",
    "xdim",
    "ydim",
    "dacs",
    "dpots",
    "pots",
    "swfix_en",
    "COL_EN_tobe",
    "ROW_EN_tobe",
    "read_pulse_len",
    "write_pulse_len",
)
GROUND: Volt = 1.7
MOST: Volt = 5.0


class Unfaked(AttributeError):
    """A name that this fake does not have."""


@dataclass
class Channel:
    """One channel of a DAC or a potentiometer, as the object remembers it."""

    x1: int = 0
    m: int = 4094
    c: int = 0
    D: int = -1

    def update_m(self, value: int) -> None:
        """Remember a gain word."""
        if not 0 <= value < STEPS - 2:
            raise ValueError("m can only be from 0 to 4093!")
        self.m = value

    def update_c(self, value: int) -> None:
        """Remember an offset word."""
        if not -2048 <= value < 2047:
            raise ValueError("c can only be from 0 to 2048!")
        self.c = value


@dataclass
class Part:
    """A DAC or four potentiometers."""

    all_channels: list[Channel] = field(default_factory=list)


class FakeObject:
    """An object over an emulated board; making it initialises that.

    Args:
        board: the emulated board.
    """

    kernels, xdim, ydim = reg.KERNELS, reg.LINES, reg.LINES

    def __init__(self, board: EmulatedBoard) -> None:
        hold = object.__setattr__
        hold(self, "_board", board)
        hold(self, "_vref", None)
        hold(self, "_mode", "")
        self.swfix_en = False
        hold(self, "dacs", [Part([Channel() for _ in range(reg.DAC_CHANNELS)]) for _ in range(reg.DACS)])
        hold(self, "dpots", [Part([Channel() for _ in range(reg.ADC_CHANNELS)]) for _ in range(reg.ADCS)])
        hold(self, "pots", [])
        hold(self, "_codes", [0] * reg.ADCS * reg.ADC_CHANNELS)
        self.COL_EN_tobe, self.ROW_EN_tobe = [1] * reg.LINES, [1] * reg.LINES
        self.read_pulse_len, self.write_pulse_len = 128 * 200 * 25 * 4 * 10 * 10 * 2, 5
        for word in range(reg.WORDS):
            board.write(reg.DATA + 4 * word, 0)
        every = (1 << reg.LINES) - 1
        for word in range(reg.WORDS):
            pulsed = (every << reg.COLUMN | every << reg.ROW) >> 32 * word & 0xFFFFFFFF
            board.write(reg.PULSE_MODE + 4 * word, pulsed)
            board.write(reg.POLARITY + 4 * word, pulsed)
        for bit in (*reg.POWER, *reg.RESET_N, *reg.SYNC_N, *reg.CLEAR_N, *reg.LOAD_N):
            self._put(bit, 1)
        for name in ("EN_IO_C", "EN_IO_R", "EN_IO_G"):
            self._put(OUTPUTS[name], 1)

    def __getattr__(self, name: str) -> Any:
        if name in OUTPUTS:
            return self._board.data >> OUTPUTS[name] & 1
        raise Unfaked(f"{name} of an object of daffodillib is not faked")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OUTPUTS:
            self._put(OUTPUTS[name], value)
        elif name in ATTRIBUTES:
            object.__setattr__(self, name, value)
        else:
            raise Unfaked(f"{name} of an object of daffodillib is not faked")

    def _put(self, bit: int, value: int) -> None:
        address = reg.DATA + 4 * (bit // 32)
        word = self._board.read(address) & ~(1 << bit % 32) | value << bit % 32
        self._board.write(address, word)

    # -- converters

    @staticmethod
    def _volts(code: int) -> Volt:
        if not 0 <= code <= STEPS:
            raise ValueError(f"x1 can only be from 0 to 4095, but was {code}!")
        return FULL * code / STEPS

    def _load(self, place: tuple[int, int], code: int) -> None:
        channel = self.dacs[place[0]].all_channels[place[1]]
        if not 0 <= code < STEPS:
            raise ValueError(f"x1 can only be from 0 to 4095, but was {code}!")
        channel.x1 = code
        for name, value in (("calibbias", channel.c), ("calibscale", channel.m), ("raw", code)):
            if self._board.read_dac(*place, name) != value or name == "raw":
                self._board.write_dac(*place, name, value)
        self._put(reg.LOAD_N[place[0]], 0)
        self._put(reg.LOAD_N[place[0]], 1)

    def _judge_line(self, code: int, mode: str) -> None:
        volts = self._volts(code)
        drop = volts - self._vref
        if self._mode == mode and (abs(drop) > MOST - GROUND or (volts != 0 and not GROUND <= volts <= MOST)):
            raise ValueError("Applied voltage across the chip cannot be greater than 3.3V.")

    def setcoldac_channel(self, colvoltage: int, i: int) -> None:
        """Set the code of a column."""
        self._judge_line(colvoltage, "forward")
        self._load(reg.column_dac(i), colvoltage)

    def setrowdac_channel(self, rowvoltage: int, i: int) -> None:
        """Set the code of a row."""
        self._judge_line(rowvoltage, "backward")
        self._load(reg.row_dac(i), rowvoltage)

    def setgatedac_channel(self, gatevoltage: int, i: int) -> None:
        """Set the code of a gate."""
        volts = self._volts(gatevoltage)
        if abs(volts - self._vref) > MOST - GROUND or (volts != 0 and not 1.68 <= volts <= MOST):
            raise ValueError("Gate Bias cannot be lower than 1.7V.")
        self._load(reg.gate_dac(i, self.swfix_en), gatevoltage)

    def setrefopamp(self, refbias: int) -> None:
        """Set the code of the amplifiers' reference."""
        volts = self._volts(refbias)
        if not 1.687 <= volts <= 2.5:
            raise ValueError("vref is best set within [1.7, 2.5] V.")
        object.__setattr__(self, "_vref", volts)
        self._load(reg.REFERENCE, refbias)

    def set_dpot_D(self, D: list[list[int]]) -> None:
        """Set the codes of all potentiometers, four of each part."""
        self.pots = []
        for number, (part, codes) in enumerate(zip(self.dpots, D, strict=True)):
            for channel, code in enumerate(codes):
                part.all_channels[channel].D = code
                self._board.write_pot(number, channel, code)
                row = number * reg.ADC_CHANNELS + channel
                if row < reg.LINES:
                    (a, b), (first, second) = self._board.analog.points[row], self._board.analog.codes
                    self.pots.append(-float(a + (b - a) * (code - first) / (second - first)))

    # -- modes and events

    def set_kernel(self, kernel: int, swfix_en: bool = False) -> None:
        """Select a kernel."""
        self.swfix_en = swfix_en
        for number, name in enumerate(("RA0", "RA1", "CA1", "LSB", "MSB")):
            setattr(self, name, kernel >> number & 1)

    def set_compliance_control(self, bit: int) -> None:
        """Set full power, or not."""
        if bit not in (0, 1):
            raise ValueError("Setting compliance control incorrectly")
        self.compliance_control = bit

    def _config(self, mode: str, read: int) -> None:
        for name in ("write_mode_C", "ext_mode_C", "write_mode_G", "ext_mode_G", "ext_mode_R"):
            setattr(self, name, 0)
        self.write_mode_R = read
        object.__setattr__(self, "_mode", mode)

    def config_forward_pass(self) -> None:
        """Have DACs on the columns and amplifiers on the rows."""
        self._config("forward", 1)

    def config_outerproduct(self) -> None:
        """Have DACs on columns and rows."""
        self._config("outerproduct", 0)

    def event(self) -> None:
        """Have an event with the lines that are to be enabled; convert every row at once if it reads."""
        board, reads = self._board, bool(self.write_mode_R)
        for first, enables in ((reg.COLUMN, self.COL_EN_tobe), (reg.ROW, self.ROW_EN_tobe)):
            for i, enable in enumerate(enables):
                if board.data >> (first + i) & 1 != enable:
                    self._put(first + i, enable)
        board.write(reg.PULSE_LENGTH, self.read_pulse_len if reads else self.write_pulse_len)
        board.write(reg.EVENT, 1)
        if reads:
            for row in range(reg.LINES):
                self._codes[row] = board.read_adc(*reg.row_adc(row))

    def retrievecurrent_channel(self, channel_no: int) -> int:
        """Return the code that a row had in the last event of reads."""
        return int(self._codes[channel_no])


class FakeLibrary:
    """What makes the object, as the driver asks for it.

    Args:
        board: the emulated board.
    """

    def __init__(self, board: EmulatedBoard) -> None:
        self.board, self.objects = board, 0

    def find(self, options: Any) -> str:
        """Return an identity."""
        return f"mtj-labctl,{options.class_.rpartition('.')[2]},,fake of daffodillib"

    def make(self, options: Any) -> FakeObject:
        """Return an object; the board is initialised."""
        self.objects += 1
        return FakeObject(self.board)

    def now(self) -> Second:
        """Return the time of the world, s."""
        return self.board.now()

    def wait(self, seconds: Second) -> None:
        """Let a time of the world pass, s."""
        self.board.wait(seconds)

    def seek(self, operation: int) -> None:
        """Have the next read be no verify read of a pulse before it."""
        self.board.unpair()

    def touch(self, die: SimDie | ChipDie | None) -> None:
        """Have needles on a chip, or on none; BenchError if it is none, or of another shape."""
        self.board.touch(None if die is None else chip_for(self.board, die, "the board"))

    def hot(self) -> str:
        """Return what is live at the lines, in words."""
        return hot(self.board, "the board")


def emulate(name: str, options: Any, context: EmulatorContext) -> FakeLibrary:
    """Return the fake of an entry of the bench file.

    Raises:
        BenchError: the die of the bench is no integrated chip of the board's shape.
    """
    return FakeLibrary(board_of(name, options, context))
