"""What the board does: be initialised, rest, carry out patterns, each as one event.

Outside of an event no line is connected to the chip. Lines keep the potential at which they are left, so that a pattern
may ask for rest before it: gates closed, every line brought to the reference. Every batch ends so.
"""

from typing import Dict, Iterable, Iterator, List, Sequence, Tuple

from . import registers as reg
from .hardware import Hardware
from .patterns import KEEP, READ, REST, WRITE, Pattern, bits
from .proof import Fault, Proof, settings_are_kept
from .settings import EVERY, Settings, wrong

AT_ONCE = 0.05
"""Longest part of an event, s, in which the engine does not look whether it is to end."""


class Refused(Exception):
    """A pattern or a setting that the board must not have; nothing was driven."""


class Aborted(Exception):
    """A batch was ended before its last pattern; the board is at rest."""


class Engine:
    """A board that is controlled; for one caller at a time.

    Args:
        hardware: the board.
    """

    def __init__(self, hardware: Hardware) -> None:
        self._hardware, self.settings = hardware, Settings()
        self.abort = False
        """Set by another thread to end a batch, in the middle of an event if that is a long one."""
        self._outputs = [0] * reg.WORDS
        self._released = False
        self._kept: Dict[int, int] = {}
        """Registers that stay as they are set once, by address."""
        self._codes: Dict[Tuple[int, int], int] = {}
        self._places: List[Tuple[int, int]] = []
        self.proof: Proof

    # -- outputs

    def _put(self, **masks: int) -> None:
        """Set and clear outputs, as masks of all 96; each word is written once, if it changes."""
        off, on = masks.get("off", 0), masks.get("on", 0)
        for word in range(reg.WORDS):
            shift = 32 * word
            value = (self._outputs[word] & ~(off >> shift) | (on >> shift)) & 0xFFFFFFFF
            if value != self._outputs[word]:
                self._outputs[word] = value
                self._hardware.write(reg.DATA + 4 * word, value)

    def _write_words(self, base: int, mask: int) -> None:
        for word in range(reg.WORDS):
            value = (mask >> (32 * word)) & 0xFFFFFFFF
            self._hardware.write(base + 4 * word, value)
            if base != reg.DATA:
                self._kept[base + 4 * word] = value

    def _load(self) -> None:
        """Have every DAC put out what was written to it."""
        self._put(off=_mask(reg.LOAD_N))
        self._put(on=_mask(reg.LOAD_N))

    def initialise(self) -> None:
        """Bring the board from any state to rest: outputs, powers, converters, then the lines.

        Raises:
            Fault: the registers are of another version, or a converter does not keep what is set.
        """
        hardware = self._hardware
        magic = hardware.read(reg.ABI)
        if magic != reg.ABI_MAGIC:
            raise Fault(f"the registers are of version 0x{magic:08x}; expected 0x{reg.ABI_MAGIC:08x}")
        self._power_up(magic)
        self.set_up(self.settings)

    def _power_up(self, magic: int) -> None:
        """Set outputs, powers and converters from any state; no line is connected."""
        hardware, self._released = self._hardware, False
        self._outputs, self._codes, self._kept = [0] * reg.WORDS, {}, {reg.ABI: magic}
        self._write_words(reg.DATA, 0)
        self._put(on=_mask(reg.LOAD_N))
        self._put(on=_mask(reg.CLEAR_N))
        for base in (reg.DIRECTION, reg.PULSE_MODE, reg.POLARITY, reg.HARDWARE_CONTROL):
            self._write_words(base, 0)
        for base in (reg.PULSE_MODE, reg.POLARITY):
            self._write_words(base, EVERY << reg.COLUMN | EVERY << reg.ROW)
        self._put(on=_mask(reg.POWER))
        self._put(on=_mask(reg.RESET_N) | _mask(reg.SYNC_N) | _mask(reg.CLEAR_N) | _mask(reg.LOAD_N))
        hardware.write(reg.PULSE_LENGTH, 5)
        hardware.write(reg.COMMAND_LENGTH, 5)

    def release(self) -> None:
        """Have no power at the chip, so that it can be taken out; verified. `set_up` brings it back.

        Raises:
            Fault: the board is not verified at rest, or an output is not off.
        """
        self.safe()
        self._write_words(reg.DATA, 0)
        self._outputs, self._codes, self._released = [0] * reg.WORDS, {}, True
        self.verify_outputs()

    @property
    def released(self) -> bool:
        """Whether the chip was left without power, and is, as the board reads it."""
        return self._released and not any(self._hardware.read(reg.DATA + 4 * word) for word in range(reg.WORDS))

    def set_up(self, settings: Settings) -> None:
        """Use the board in another way, from rest; every setting is read back.

        Raises:
            Fault: a converter does not keep what is set, or the board is not as initialised; it is not used then.
        """
        hardware = self._hardware
        if self.released:
            self._power_up(self._kept[reg.ABI])
        self.settings, self._codes = settings, {}
        self._places = [reg.column_dac(i) for i in range(reg.LINES)] + [reg.row_dac(i) for i in range(reg.LINES)]
        self._places += [reg.gate_dac(i, settings.swapped) for i in range(reg.LINES)]
        for row, code in enumerate(settings.pots):
            hardware.write_pot(*reg.row_adc(row), code)
        self.safe()
        self._verify_settings()

    def _verify_settings(self) -> None:
        """Raise Fault, by its name, for a converter that does not keep what was set."""
        self.verify_outputs()
        always = _mask((*reg.POWER, *reg.RESET_N, *reg.SYNC_N, *reg.CLEAR_N, *reg.LOAD_N))
        outputs = sum(value << (32 * word) for word, value in enumerate(self._outputs))
        if outputs & (always | 1 << reg.POWER_DOWN) != always:
            raise Fault("powers or converters are not as they were initialised; start the server again")
        settings_are_kept(self._hardware, self.settings, self._places)
        self.proof = Proof(self._hardware, self.settings, self._places)

    # -- rest

    def safe(self) -> None:
        """From any state: gates closed, lines disconnected and at the reference; verified. Without power it is so.

        Raises:
            Fault: the board is not verified at rest.
        """
        if self.released:
            return
        self._outputs = [self._hardware.read(reg.DATA + 4 * word) for word in range(reg.WORDS)]
        self._put(off=EVERY << reg.COLUMN | EVERY << reg.ROW | 1 << reg.FULL_POWER, on=_mask(reg.LOAD_N))
        self._codes = {}
        for place in [*self._places, reg.REFERENCE]:  # a code is a level by them
            for name, value in (("calibscale", self.settings.m), ("calibbias", self.settings.c)):
                if self._hardware.read_dac(*place, name=name) != value:
                    self._hardware.write_dac(*place, name=name, value=value)
        self.rest()
        self._refuse_live()

    def _refuse_live(self) -> None:
        """Raise Fault for lines that are not at rest."""
        if live := self.state():
            raise Fault("not at rest: " + ", ".join(f"{line} at code {code}" for line, code in sorted(live.items())))

    def verify_rest(self) -> None:
        """Raise Fault if the board behind a batch is not at rest, or an amplifier not at its reference."""
        self._refuse_live()
        self.proof.at_rest()

    def rest(self) -> None:
        """Close the gates, then bring every line to the reference."""
        settings = self.settings
        self._set_codes((KEEP,) * (2 * reg.LINES) + (settings.closed,) * reg.LINES)
        self._set_code(reg.REFERENCE, settings.reference)
        self._set_codes((settings.reference,) * (2 * reg.LINES) + (KEEP,) * reg.LINES, load=True)
        self._mode(WRITE)
        self._event(settings.columns, settings.rows, settings.rest_clocks)
        self._end(settings.rest_clocks * settings.clock)

    def state(self) -> Dict[str, int]:
        """Return every line that is not at rest and its code, as the board reads it: "column3", "row7", "gate3".

        A line that is connected counts whatever its code.
        """
        settings, hardware = self.settings, self._hardware
        if self.released:
            return {}
        outputs = sum(hardware.read(reg.DATA + 4 * word) << (32 * word) for word in range(reg.WORDS))
        live: Dict[str, int] = {}
        codes = hardware.read_dacs(self._places, "raw")
        if not outputs & (EVERY << reg.COLUMN | EVERY << reg.ROW) and codes == settings.at_rest:
            return live
        for at, code in enumerate(codes):
            kind, i = ("column", "row", "gate")[at // reg.LINES], at % reg.LINES
            on = {"column": outputs >> (reg.COLUMN + i) & 1, "row": outputs >> (reg.ROW + i) & 1, "gate": 0}[kind]
            if on or code != (settings.closed if kind == "gate" else settings.reference):
                live[f"{kind}{i}"] = code
        return live

    def verify_outputs(self) -> None:
        """Raise Fault if registers are not as they were set: what was read since is worth nothing."""
        outputs = {reg.DATA + 4 * word: value for word, value in enumerate(self._outputs)}
        for address, wanted in {**self._kept, **outputs}.items():
            present = self._hardware.read(address)
            if present != wanted:
                raise Fault(
                    f"register 0x{address:04x} reads 0x{present:08x}, and 0x{wanted:08x} was set: another program "
                    "drives the board, or it was without power; start its server again"
                )

    # -- patterns

    def seconds(self, patterns: Sequence[Pattern]) -> float:
        """Return the time of the events of patterns, in s."""
        return sum(pattern.clocks for pattern in patterns) * self.settings.clock

    def refuse(self, patterns: Sequence[Pattern]) -> None:
        """Raise Refused, with the number of the pattern, for one that the board must not have."""
        for number, pattern in enumerate(patterns):
            if reason := wrong(pattern, self.settings):
                raise Refused(f"pattern {number}: {reason}")

    def run(self, patterns: Sequence[Pattern]) -> Tuple[List[int], List[int]]:
        """Carry out patterns in their order; return the codes of what they read, and the numbers of late patterns.

        A pattern is late if its event may have ended before its last conversion: its codes are worth nothing.

        Raises:
            Refused: one of them must not be; nothing was driven.
            Aborted: ended before the last one.
            Fault: the outputs are not as they were set.
        """
        self.refuse(patterns)
        codes: List[int] = []
        late: List[int] = []
        self.proof.begin()
        try:
            for number, pattern in enumerate(patterns):
                if not self.apply(pattern, codes):
                    late.append(number)
            self.verify_outputs()
        except Aborted as error:
            raise Aborted(f"after {number} of {len(patterns)} patterns") from error
        finally:
            self.rest()
        self.verify_rest()
        return codes, late

    def attempts(
        self, writes: Sequence[Pattern], reads: Sequence[Pattern], cells: Sequence[int]
    ) -> Iterator[Tuple[int, bool]]:
        """Carry out the writes of some cells, each followed by its read of one row.

        Yields:
            the code of each, and whether it was read in time.

        Raises:
            Aborted: ended before the last one.
        """
        for cell in cells:
            codes: List[int] = []
            self.apply(writes[cell], [])
            in_time = self.apply(reads[cell], codes)
            yield codes[0], in_time

    def apply(self, pattern: Pattern, codes: List[int]) -> bool:
        """Carry out one pattern, append the codes that it reads; return whether they were read in time.

        Raises:
            Aborted: not begun, or ended in its event; its lines are disconnected.
        """
        if self.abort:
            raise Aborted("before an event")
        if pattern.mode & REST:
            self.rest()
        mode = pattern.mode & ~REST
        self._select(pattern.kernel)
        self._mode(mode)
        self._set_codes(pattern.codes)
        self.proof.moved(pattern.codes)
        started = self._event(pattern.column_on, pattern.row_on, pattern.clocks)
        end, in_time = started + pattern.clocks * self.settings.clock, True
        if mode == READ and pattern.read:
            self._hardware.wait(self.settings.settle)
            codes.extend(self._hardware.read_adc(*reg.row_adc(row)) for row in bits(pattern.read))
            in_time = self._hardware.now() <= end
        while not self.abort and end - self._hardware.now() > AT_ONCE:
            self._hardware.wait(AT_ONCE)
        if self.abort and self._hardware.now() < end:
            self._end(0.0)
            raise Aborted("in an event")
        self._end(end - self._hardware.now())
        return in_time

    def _select(self, kernel: int) -> None:
        self._put(off=_mask(reg.KERNEL_BITS) | 1 << reg.CA0, on=_mask(reg.KERNEL_BITS[bit] for bit in bits(kernel)))

    def _mode(self, mode: int) -> None:
        sense = 1 << reg.WRITE_R if mode == READ else 0
        every = _mask(range(reg.ENABLE_C, reg.EXTERNAL_G + 1))
        self._put(off=every, on=1 << reg.ENABLE_C | 1 << reg.ENABLE_R | 1 << reg.ENABLE_G | sense)

    def _set_codes(self, codes: Sequence[int], load: bool = False) -> None:
        """Write the codes of columns, rows and gates that differ from what was written, and load them together."""
        changed = load
        for place, code in zip(self._places, codes):
            if code != KEEP:
                changed = self._set_code(place, code) or changed
        if changed:
            self._load()

    def _set_code(self, place: Tuple[int, int], code: int) -> bool:
        if self._codes.get(place) == code:
            return False
        self._codes.pop(place, None)  # not known if the write fails
        self._hardware.write_dac(*place, name="raw", value=code)
        self._codes[place] = code
        return True

    def _event(self, columns: int, rows: int, clocks: int) -> float:
        """Start an event with these lines connected; return when it began."""
        self._put(off=EVERY << reg.COLUMN | EVERY << reg.ROW, on=columns << reg.COLUMN | rows << reg.ROW)
        self._hardware.write(reg.PULSE_LENGTH, clocks)
        started = self._hardware.now()
        self._hardware.write(reg.EVENT, 1)
        return started

    def _end(self, left: float) -> None:
        """Let the rest of an event pass, in s, and have no line connected by the next one."""
        if left > 0:
            self._hardware.wait(left)
        self._put(off=EVERY << reg.COLUMN | EVERY << reg.ROW)


def _mask(outputs: Iterable[int]) -> int:
    mask = 0
    for bit in outputs:
        mask |= 1 << bit
    return mask
