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

from collections.abc import Container, Mapping, Sequence
from functools import cached_property

import numpy as np

from labctl.boards.daffodil import registers as reg
from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense
from labctl.core.units import Ampere, BoolArray, FloatArray, Second, Volt
from sim_backend.chip import ChipDie
from sim_backend.emulators.daffodil_analog import FULL, STEPS, Analog, BoardAudit, Defects
from sim_backend.emulators.world import World

MOST_CURRENT: Ampere = 40e-3
"""[?] Of a DAC channel."""


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
        _, self._n_rows, self._n_cols = chip.geometry.shape
        chip.bare()
        self.chip, self.analog, self.world = chip, analog, world
        self.clock, self.conversion, self.dac_write, self.swapped = clock, conversion, dac_write, swapped
        self.audit, self.defects = BoardAudit(), Defects()
        self.touching = True
        """Whether its lines reach the chip; needles may be up."""
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
        self.out = dict.fromkeys(self._dac, 0.0)
        self.written: set[tuple[int, int]] = set()
        """Channels that were written and not loaded."""
        self._pots: dict[tuple[int, int], int] = {}
        self.__dict__.pop("_feedback", None)
        self.held: FloatArray = np.zeros(self._n_rows + self._n_cols)
        self._outputs: FloatArray = np.zeros(reg.LINES)
        self._ends: Second = 0.0
        self.opened: BoolArray = np.zeros(self._n_rows, np.bool_)
        self._pair: tuple[int, int] | None = None
        """Kernel of a pulse that a read may follow, and the number of the chip's next pattern behind it."""
        self._aside = 0
        """Number of the next read behind closed gates, which are none of an operation's."""

    def put(self, chip: ChipDie) -> None:
        """Have another chip in the socket; recorded as unsafe if the socket has power."""
        if chip is self.chip:
            return
        if self.powered:
            self.world.note("hot exchange", f"{self.chip.name} by {chip.name}")
        self._have(chip)

    def _have(self, chip: ChipDie) -> None:
        """Have a chip at the lines, which come to it without a charge."""
        chip.bare()
        self.chip, self._pair = chip, None
        self.held = np.zeros(self._n_rows + self._n_cols)
        self.opened = np.zeros(self._n_rows, np.bool_)

    def touch(self, chip: ChipDie | None) -> None:
        """Have needles on a chip, or on none: what is read then is open, and what is driven reaches nothing."""
        self.touching = chip is not None
        if chip is not None:
            self._have(chip)

    @property
    def powered(self) -> bool:
        """Whether a supply of the chip is on."""
        return any(self._bit(bit) for bit in reg.POWER)

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
        self.world.advance(self.dac_write)
        if (dac, channel) in self.defects.stuck:
            return
        self._dac[dac, channel][name] = value
        self.written.add((dac, channel))

    def read_dac(self, dac: int, channel: int, name: str) -> int:
        """Return a property of a channel."""
        return self._dac[dac, channel][name]

    def read_dacs(self, places: Sequence[tuple[int, int]], name: str) -> list[int]:
        """Return a property of several channels."""
        return [self._dac[place][name] for place in places]

    def output(self, dac: int, channel: int) -> Volt:
        """Return what a channel puts out, V from the board's ground."""
        return self.out[dac, channel]

    def _load(self, dacs: Container[int]) -> None:
        self._put_out(dacs)
        self._gates()

    def _put_out(self, dacs: Container[int] = range(reg.DACS)) -> None:
        """Have DACs put out what was written to them."""
        for place in [place for place in self.written if place[0] in dacs]:
            words = self._dac[place]
            code = words["raw"] * (words["calibscale"] + 2) / STEPS + words["calibbias"]
            self.out[place] = FULL * min(max(code, 0.0), STEPS - 1.0) / STEPS
            self.written.discard(place)

    def _gates(self) -> FloatArray:
        """Return the voltages (n_rows,) of the gates above the chip's ground; cells whose gate opens are recorded."""
        volts = np.array([self.out[reg.gate_dac(i, self.swapped)] for i in range(self._n_rows)]) - self.analog.ground
        if self.defects.unsupplied or not (self._bit(reg.ENABLE_G) and self._bit(reg.POWER[0])):
            volts = np.zeros(self._n_rows)
        mode = self._bit(reg.WRITE_G), self._bit(reg.EXTERNAL_G)
        if mode == (1, 0):
            volts = np.full(self._n_rows, FULL - self.analog.ground)
        elif mode != (0, 0):
            volts = np.zeros(self._n_rows)
        if self._bit(reg.FULL_POWER):  # [?] the chip then opens a gate wholly or not at all
            volts = np.where(volts > self.chip.opens_above, FULL - self.analog.ground, 0.0)
        self.audit.gate = max(self.audit.gate, float(volts.max()))
        ledger = self.world.ledger
        ledger.peak_gate_voltage = max(ledger.peak_gate_voltage, self.audit.gate)
        self.opened = volts > self.chip.opens_above
        self.audit.see(self.held, self.held, self.opened, self._n_rows)
        return volts.clip(min=0.0)

    def write_pot(self, pot: int, channel: int, code: int) -> None:
        """Set the code of a potentiometer."""
        if not 0 <= code <= 255:
            raise OSError(f"potentiometer {pot} channel {channel}: {code}; expected 0 to 255")
        self._pots[pot, channel] = code
        self.__dict__.pop("_feedback", None)
        self.world.advance(self.dac_write)

    def read_pot(self, pot: int, channel: int) -> int:
        """Return the code of a potentiometer; in the middle after power-on."""
        return self._pots.get((pot, channel), 128)

    def read_adc(self, adc: int, channel: int) -> int:
        """Convert the output of an amplifier: of its row in an event, of the reference otherwise."""
        self.world.advance(self.conversion)
        return self.code(adc * reg.ADC_CHANNELS + channel)

    def read_adcs(self, places: Sequence[tuple[int, int]]) -> list[int]:
        """Convert outputs one after the other."""
        outside, clock = self.now() > self._ends, self.world.clock
        if not outside or clock.waits or self.world.go_on is not None or not self.defects.none:
            return [self.read_adc(*place) for place in places]
        self.world.advance(self.conversion, len(places))
        volts = self.out[reg.REFERENCE] + self.analog.offset
        codes = np.rint(volts * STEPS / FULL).clip(0, STEPS - 1).astype(int).tolist()
        codes += [0] * (reg.ADCS * reg.ADC_CHANNELS - reg.LINES)
        return [codes[adc * reg.ADC_CHANNELS + channel] for adc, channel in places]

    def code(self, row: int) -> int:
        """Return the code of a row's ADC at this moment; 0 of one that no row has."""
        if row >= reg.LINES:
            return 0
        if self.defects.unsupplied or row // reg.ADC_CHANNELS in self.defects.dead:
            return self.defects.dead.get(row // reg.ADC_CHANNELS, 0)
        volts = self._outputs[row] if self.now() <= self._ends else self.out[reg.REFERENCE] + self.analog.offset[row]
        volts = self.defects.saturated.get(row, volts)
        return int(min(max(round(float(volts) * STEPS / FULL), 0), STEPS - 1))

    # -- time

    def now(self) -> Second:
        """Return the time of the world, s."""
        return self.world.now

    def wait(self, seconds: Second) -> None:
        """Let a time pass, s."""
        self.world.advance(seconds)

    # -- events

    def _event(self) -> None:
        """Do one event to the chip; its reading stands until its end."""
        clocks = self.read(reg.PULSE_LENGTH)
        width = clocks * self.clock
        self._ends = self.now() + width
        self._outputs = self.out[reg.REFERENCE] + self.analog.offset.copy()
        self.audit.events += 1
        powered = all(self._bit(bit) for bit in reg.POWER) and not self._bit(reg.POWER_DOWN)
        if self.defects.unsupplied:
            return
        if not powered or not clocks:
            self.refuse("an event without power" if clocks else "an event of no clock")
            return
        if self.touching:
            self.world.ledger.energise(self.now(), self._ends)
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
            self.refuse(f"columns and rows in modes {modes}, which are not emulated")
            return
        reads = modes[1] == (1, 0)
        zero = self.analog.ground + self.chip.board.reference
        level = np.array(
            [self.out[reg.column_dac(i)] for i in range(n_rows)]
            + [self.out[reg.REFERENCE if reads else reg.row_dac(i)] for i in range(n_cols)]
        )
        level -= zero
        gates = self._gates()
        now = np.where(on, level, self.held)
        self.audit.see(np.minimum(self.held, now), np.maximum(self.held, now), self.opened, n_rows)
        self.held = now
        ledger = self.world.ledger
        ledger.peak_cell_voltage = max(ledger.peak_cell_voltage, self.audit.towards_p, self.audit.towards_ap)
        ledger.biased(float(np.ptp(now)) if self.touching and self.opened.any() else 0.0)
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
                current = self.perform(Sense(bias, np.arange(n_cols), width), bool(self.opened.any()))
                self._outputs = self.amplified(current, on[None, n_rows:])[0]
            elif self.opened.any():
                self.perform(Pulse(bias, width))
        except BenchError as error:
            self.refuse(str(error))

    def perform(self, operation: Sense | Pulse, opened: bool = True) -> FloatArray:
        """Do an operation to the chip; return its currents, (n, columns) A.

        A read right behind a pulse on its kernel has that pulse's random numbers, as its verify read has them in a die
        without a board. A read behind closed gates takes none of the numbers of the operation in which it comes.

        Args:
            opened: whether a gate is open.

        Raises:
            BenchError: the chip cannot do it.
        """
        chip, kernel = self.chip, operation.bias.kernel
        pair, self._pair = self._pair, None
        if not self.touching:
            return np.zeros((len(operation), self._n_cols))
        if isinstance(operation, Sense) and not opened:
            number, chip.number = chip.number, self._aside
            try:
                return chip.perform(operation).current
            finally:
                self._aside, chip.number = chip.number, number
        if isinstance(operation, Sense) and pair == (kernel[0], chip.number):
            chip.number -= 1
        current = chip.perform(operation).current
        if isinstance(operation, Pulse) and operation.verify is None:
            self._pair = int(kernel[-1]), chip.number
        return current

    def amplified(self, current: FloatArray, on: BoolArray) -> FloatArray:
        """Return what all amplifiers put out, (n, 25) V, when currents (n, n_cols) A come of connected lines."""
        a, n_cols = self.analog, self._n_cols
        outputs = np.tile(self.out[reg.REFERENCE] + a.offset, (len(current), 1))
        outputs[:, :n_cols] = (outputs[:, :n_cols] - np.where(on, current, 0.0) * self._feedback).clip(a.low, a.high)
        return outputs

    @cached_property
    def _feedback(self) -> FloatArray:
        """Feedback of the amplifiers in use, (n_cols,) ohm; until a potentiometer is set."""
        a = self.analog
        return np.array([a.feedback(row, self.read_pot(*reg.row_adc(row))) for row in range(self._n_cols)])

    def unpair(self) -> None:
        """Have the next read be no verify read of a pulse before it."""
        self._pair = None

    def leave(self, codes: Mapping[tuple[int, int], int], held: FloatArray, opened: BoolArray) -> None:
        """Be as events leave it that were carried out at once.

        Args:
            codes: of channels that were written and loaded.
            held: levels (lines,) V at which the lines of the chip were left.
            opened: (n_rows,) which gates are open.
        """
        for place, code in codes.items():
            if self._dac[place]["raw"] != code:
                self._dac[place]["raw"] = code
                self.written.add(place)
        self._put_out()
        self.held, self.opened = held, opened

    def refuse(self, words: str) -> None:
        """Record what could not be done."""
        self.audit.refused.append(words)
        self.world.note("refused", words)
