"""A Daffodil board around a simulated chip: its registers, converters and amplifiers, below the server that runs on it.

Nothing happens to the chip but in an event, which a 1 in the register of events starts and which lasts as many clocks
as the register of lengths says: lines whose enables are set are connected, a DAC puts out what was loaded into it, an
amplifier holds its line at the reference and keeps its output for the ADC until the event ends. In an event of reads
the chip is read once, over all of its time.

What cells see is recorded apart from the chip (`BoardAudit`): of the cells behind open gates, each line anywhere
between where it was left and where it goes, since nothing says which is connected first. Lines that are not connected
stay where they were left.

Source: the public library of the board's makers, https://github.com/usnistgov/daffodil-lib, commit 1b64a41. The outputs
of its FPGA are not public: that enables act in events only, that a gate follows its DAC at once and that levels are
loaded when LDAC falls are [?]. Not emulated: the backward pass, grounded or external lines.
"""

from dataclasses import dataclass, field

import numpy as np

from labctl.boards.daffodil import registers as reg
from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense
from labctl.core.units import Ampere, BoolArray, FloatArray, Ohm, Second, Volt
from sim_backend.chip import ChipDie
from sim_backend.emulators.world import World
from sim_backend.rng import Stream

FULL: Volt = 5.0
STEPS = 4096
MOST_CURRENT: Ampere = 40e-3
"""[?] Of a DAC channel."""


@dataclass
class BoardAudit:
    """What the board did to the chip.

    Args:
        towards_p: highest V_row - V_col, in the die's words, of a cell behind an open gate, V, transients included.
        towards_ap: the same of V_col - V_row.
        gate: highest gate voltage above the chip's ground, V.
        events: how many there were, and how many of them read.
        refused: what the chip or the emulation could not do, in words.
    """

    towards_p: Volt = 0.0
    towards_ap: Volt = 0.0
    gate: Volt = 0.0
    events: int = 0
    reads: int = 0
    refused: list[str] = field(default_factory=list)

    def see(self, low: FloatArray, high: FloatArray, opened: BoolArray, n_rows: int) -> None:
        """Record lines anywhere between `low` and `high`, (rows + columns,) V, with the gates of rows `opened`."""
        if not opened.any():
            return
        rows, cols = slice(None, n_rows), slice(n_rows, None)
        self.towards_p = max(self.towards_p, float(high[rows][opened].max() - low[cols].min()))
        self.towards_ap = max(self.towards_ap, float(high[cols].max() - low[rows][opened].min()))


@dataclass(frozen=True)
class Analog:
    """The analogue part of one board, as it really is.

    Args:
        points: resistances of the feedback of each row of the board at two codes, (25, 2) ohm.
        codes: those codes.
        gain: of each feedback, what it really is over what was measured, (25,).
        offset: of each amplifier, (25,) V at its output.
        low, high: outputs of the amplifiers, V.
        ground: the ground of the chip, V.
    """

    points: FloatArray
    codes: tuple[int, int]
    gain: FloatArray
    offset: FloatArray
    low: Volt = 0.0
    high: Volt = 3.3
    ground: Volt = 1.7

    def feedback(self, row: int, code: int) -> Ohm:
        """Return the feedback of a row at a code, ohm."""
        (a, b), (first, second) = self.points[row], self.codes
        return float((a + (b - a) * (code - first) / (second - first)) * self.gain[row])

    @classmethod
    def drawn(cls, chip: ChipDie, feedback: Ohm, points: FloatArray, codes: tuple[int, int], **rest: Volt) -> "Analog":
        """Return amplifiers with the offsets and mismatch that the chip's die file gives, drawn for this die."""
        board, seed = chip.description.simulation.effective.board, chip.seed
        assert board is not None
        offset, gain = (
            Stream(seed, chip.name, "board", what, stride=reg.LINES).normals(0)[0] for what in ("offsets", "gains")
        )
        return cls(points, codes, np.exp(board.gain * gain), board.offset * feedback * offset, **rest)


class EmulatedBoard:
    """The board below its server, `labctl.boards.daffodil.hardware.Hardware`.

    Args:
        chip: the chip on it, which is told that it has no converters of its own.
        analog: amplifiers and feedback.
        world: has the clock, and records when the chip is energised.
        clock: of the board, s.
        conversion: time of a conversion, s. dac_write: of a write to a DAC or a potentiometer, s.
        swapped: gates 13 and 14 are on each other's channel.
    """

    def __init__(
        self,
        chip: ChipDie,
        analog: Analog,
        world: World,
        *,
        clock: Second = 46.875e-9,
        conversion: Second = 25e-6,
        dac_write: Second = 60e-6,
        swapped: bool = False,
    ) -> None:
        chip.bare()
        _, self._n_rows, self._n_cols = chip.geometry.shape
        self._chip, self._analog, self._world = chip, analog, world
        self._clock, self._conversion, self._dac_write, self._swapped = clock, conversion, dac_write, swapped
        self.audit = BoardAudit()
        self.power_off()

    def power_off(self) -> None:
        """Forget everything; every DAC is at 0 V."""
        self.words = {reg.ABI: reg.ABI_MAGIC}
        """Registers that were written, by address."""
        self.data = 0
        """All outputs, bit n for output n."""
        self._dac = {
            (dac, channel): {"raw": 0, "calibscale": 4094, "calibbias": 0}
            for dac in range(reg.DACS)
            for channel in range(reg.DAC_CHANNELS)
        }
        self._out = dict.fromkeys(self._dac, 0.0)
        self._written: set[tuple[int, int]] = set()
        """Channels that were written and not loaded."""
        self._pots: dict[tuple[int, int], int] = {}
        self._held = np.zeros(self._n_rows + self._n_cols)
        self._outputs: FloatArray = np.zeros(reg.LINES)
        self._ends: Second = 0.0
        self._opened: BoolArray = np.zeros(self._n_rows, np.bool_)

    # -- registers

    def read(self, address: int) -> int:
        """Return the word of a register."""
        return self.words.get(address, 0)

    def write(self, address: int, word: int) -> None:
        """Set the word of a register, and do what that does."""
        before, self.words[address] = self.words.get(address, 0), word
        if reg.DATA <= address < reg.DATA + 4 * reg.WORDS:
            self.data = sum(self.read(reg.DATA + 4 * n) << (32 * n) for n in range(reg.WORDS))
        if address == reg.DATA:
            fallen = before & ~word
            loaded = [dac for dac, bit in enumerate(reg.LOAD_N) if fallen >> bit & 1]
            if loaded:
                self._load(loaded)
        elif address == reg.EVENT and word & 1:
            self.words[address] = 0
            self._event()

    def _bit(self, bit: int) -> int:
        return self.data >> bit & 1

    # -- converters

    def write_dac(self, dac: int, channel: int, name: str, value: int) -> None:
        """Set a property of a channel; its output stays until it is loaded."""
        low, high = {"raw": (0, STEPS - 1), "calibscale": (0, STEPS - 1), "calibbias": (-2048, 2047)}[name]
        if not low <= value <= high:
            raise OSError(f"DAC {dac} channel {channel}: {name} {value}; expected {low} to {high}")
        self._dac[dac, channel][name] = value
        self._written.add((dac, channel))
        self._world.advance(self._dac_write)

    def read_dac(self, dac: int, channel: int, name: str) -> int:
        """Return a property of a channel."""
        return self._dac[dac, channel][name]

    def output(self, dac: int, channel: int) -> Volt:
        """Return what a channel puts out, V from the board's ground."""
        return self._out[dac, channel]

    def _load(self, dacs: list[int]) -> None:
        for place in [place for place in self._written if place[0] in dacs]:
            words = self._dac[place]
            code = words["raw"] * (words["calibscale"] + 2) / STEPS + words["calibbias"]
            self._out[place] = FULL * min(max(code, 0.0), STEPS - 1.0) / STEPS
            self._written.discard(place)
        self._gates()

    def _gates(self) -> FloatArray:
        """Return the voltages (n_rows,) of the gates above the chip's ground; cells whose gate opens are recorded."""
        volts = np.array([self._out[reg.gate_dac(i, self._swapped)] for i in range(self._n_rows)]) - self._analog.ground
        if not (self._bit(reg.ENABLE_G) and self._bit(reg.POWER[0])):
            volts = np.zeros(self._n_rows)
        mode = self._bit(reg.WRITE_G), self._bit(reg.EXTERNAL_G)
        if mode == (1, 0):
            volts = np.full(self._n_rows, FULL - self._analog.ground)
        elif mode != (0, 0):
            volts = np.zeros(self._n_rows)
        if self._bit(reg.FULL_POWER):  # [?] the chip then opens a gate wholly or not at all
            volts = np.where(volts > self._chip.opens_above, FULL - self._analog.ground, 0.0)
        self.audit.gate = max(self.audit.gate, float(volts.max()))
        self._opened = volts > self._chip.opens_above
        self.audit.see(self._held, self._held, self._opened, self._n_rows)
        return volts.clip(min=0.0)

    def write_pot(self, pot: int, channel: int, code: int) -> None:
        """Set the code of a potentiometer."""
        if not 0 <= code <= 255:
            raise OSError(f"potentiometer {pot} channel {channel}: {code}; expected 0 to 255")
        self._pots[pot, channel] = code
        self._world.advance(self._dac_write)

    def read_pot(self, pot: int, channel: int) -> int:
        """Return the code of a potentiometer; in the middle after power-on."""
        return self._pots.get((pot, channel), 128)

    def read_adc(self, adc: int, channel: int) -> int:
        """Convert the output of an amplifier: of its row in an event, of the reference otherwise."""
        self._world.advance(self._conversion)
        return self.code(adc * reg.ADC_CHANNELS + channel)

    def code(self, row: int) -> int:
        """Return the code of a row's ADC at this moment; 0 of one that no row has."""
        if row >= reg.LINES:
            return 0
        volts = self._outputs[row] if self.now() <= self._ends else self._out[reg.REFERENCE] + self._analog.offset[row]
        return int(min(max(round(float(volts) * STEPS / FULL), 0), STEPS - 1))

    # -- time

    def now(self) -> Second:
        """Return the time of the world, s."""
        return self._world.now

    def wait(self, seconds: Second) -> None:
        """Let a time pass, s."""
        self._world.advance(seconds)

    # -- events

    def _event(self) -> None:
        """Do one event to the chip; its reading stands until its end."""
        clocks = self.read(reg.PULSE_LENGTH)
        width = clocks * self._clock
        self._ends = self.now() + width
        self._outputs = self._out[reg.REFERENCE] + self._analog.offset.copy()
        self.audit.events += 1
        powered = all(self._bit(bit) for bit in reg.POWER) and not self._bit(reg.POWER_DOWN)
        if not powered or not clocks:
            self._refuse("an event without power" if clocks else "an event of no clock")
            return
        self._world.ledger.energise(self.now(), self._ends)
        n_rows, n_cols, data = self._n_rows, self._n_cols, self.data
        on = np.array(
            [self._bit(reg.ENABLE_C) and data >> (reg.COLUMN + i) & 1 for i in range(n_rows)]
            + [self._bit(reg.ENABLE_R) and data >> (reg.ROW + i) & 1 for i in range(n_cols)],
            np.bool_,
        )
        modes = [
            tuple(self._bit(bit) for bit in pair)
            for pair in ((reg.WRITE_C, reg.EXTERNAL_C), (reg.WRITE_R, reg.EXTERNAL_R))
        ]
        if modes[0] != (0, 0) or modes[1] not in ((0, 0), (1, 0)):
            self._refuse(f"columns and rows in modes {modes}, which are not emulated")
            return
        reads = modes[1] == (1, 0)
        zero = self._analog.ground + self._chip.board.reference
        level = np.array(
            [self._out[reg.column_dac(i)] for i in range(n_rows)]
            + [self._out[reg.REFERENCE if reads else reg.row_dac(i)] for i in range(n_cols)]
        )
        level -= zero
        gates = self._gates()
        now = np.where(on, level, self._held)
        self.audit.see(np.minimum(self._held, now), np.maximum(self._held, now), self._opened, n_rows)
        self._held = now
        ledger = self._world.ledger
        ledger.peak_cell_voltage = max(ledger.peak_cell_voltage, self.audit.towards_p, self.audit.towards_ap)
        kernel = sum(self._bit(bit) << number for number, bit in enumerate(reg.KERNEL_BITS))
        bias = Bias(
            np.where(on, level, 0.0)[None, :n_rows],
            np.where(on, level, 0.0)[None, n_rows:],
            gates[None],
            None if on.all() else ~on[None],
            kernel=np.array(kernel),
            compliance=MOST_CURRENT,
        )
        try:
            if reads:
                self.audit.reads += 1
                self._amplify(self._chip.perform(Sense(bias, np.arange(n_cols), width)).current[0], on[n_rows:])
            elif self._opened.any():
                self._chip.perform(Pulse(bias, width))
        except BenchError as error:
            self._refuse(str(error))

    def _amplify(self, current: FloatArray, on: BoolArray) -> None:
        """Have amplifiers put out what the currents (n_cols,) A of connected lines give."""
        a = self._analog
        for row, amps in enumerate(np.where(on, current, 0.0)):
            volts = self._outputs[row] - float(amps) * a.feedback(row, self.read_pot(*reg.row_adc(row)))
            self._outputs[row] = min(max(volts, a.low), a.high)

    def _refuse(self, words: str) -> None:
        self.audit.refused.append(words)
        self._world.note("refused", words)
