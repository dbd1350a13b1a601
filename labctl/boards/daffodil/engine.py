"""What the board does: be initialised, rest, carry out patterns, each as one event.

Outside of an event no line is connected to the chip. Lines keep the potential at which they are left, so that a pattern
may ask for rest before it: gates closed, every line brought to the reference. Every batch ends so.
"""

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

from . import registers as reg
from .hardware import Hardware
from .patterns import KEEP, READ, REST, WRITE, Pattern, bits, split

EVERY = (1 << reg.LINES) - 1


class Refused(Exception):
    """A pattern or a setting that the board must not have; nothing was driven."""


class Aborted(Exception):
    """A batch was ended before its last pattern; the board is at rest."""


class Fault(Exception):
    """The board is not as it was set."""


class Settings(NamedTuple):
    """How the board is used.

    Args:
        reference: code at which lines rest, which is that of the amplifiers' reference.
        closed: code of a closed gate: the ground of the chip.
        lowest: lowest code of a line, that of the ground of the chip.
        up: most codes that a column may be above a row, the reference among both. down: below.
        top_gate: highest code of a gate.
        m: gain word of every channel.
        c: offset word of every channel.
        clock: seconds.
        settle: seconds from the begin of an event to the first conversion.
        rest_clocks: length of an event of rest.
        columns: mask of columns that may be connected. rows: likewise.
        pots: codes of the potentiometers of 25 rows.
        swapped: gates 13 and 14 are on each other's channel.
    """

    reference: int = 2048
    closed: int = 1393
    lowest: int = 1393
    up: int = 2703
    down: int = 2703
    top_gate: int = reg.TOP_CODE
    m: int = 4094
    c: int = 0
    clock: float = 46.875e-9
    settle: float = 20e-6
    rest_clocks: int = 427
    columns: int = EVERY
    rows: int = EVERY
    pots: Tuple[int, ...] = (11,) * reg.LINES
    swapped: bool = False


class Engine:
    """A board that is controlled; for one caller at a time.

    Args:
        hardware: the board.
    """

    def __init__(self, hardware: Hardware) -> None:
        self._hardware, self.settings = hardware, Settings()
        self.abort = False
        """Set by another thread to end a batch before its next pattern."""
        self._outputs = [0] * reg.WORDS
        self._codes: Dict[Tuple[int, int], int] = {}
        self._places: List[Tuple[int, int]] = []

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
            self._hardware.write(base + 4 * word, (mask >> (32 * word)) & 0xFFFFFFFF)

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
        self._outputs, self._codes = [0] * reg.WORDS, {}
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
        self.set_up(self.settings)

    def set_up(self, settings: Settings) -> None:
        """Use the board in another way, from rest; every setting is read back.

        Raises:
            Fault: a converter does not keep what is set; the board is not used then.
        """
        hardware = self._hardware
        self.settings, self._codes = settings, {}
        self._places = [reg.column_dac(i) for i in range(reg.LINES)] + [reg.row_dac(i) for i in range(reg.LINES)]
        self._places += [reg.gate_dac(i, settings.swapped) for i in range(reg.LINES)]
        for dac, channel in [*self._places, reg.REFERENCE]:
            hardware.write_dac(dac, channel, "calibscale", settings.m)
            hardware.write_dac(dac, channel, "calibbias", settings.c)
        for row, code in enumerate(settings.pots):
            hardware.write_pot(*reg.row_adc(row), code)
        self.safe()
        self._verify_settings()

    def _verify_settings(self) -> None:
        """Raise Fault, by its name, for a converter that does not keep what was set."""
        settings, hardware = self.settings, self._hardware
        kept = [
            (f"{name} of DAC {place}", value, hardware.read_dac(*place, name=name))
            for place in [*self._places, reg.REFERENCE]
            for name, value in (("calibscale", settings.m), ("calibbias", settings.c))
        ]
        kept.append(("the reference", settings.reference, hardware.read_dac(*reg.REFERENCE, name="raw")))
        kept += [
            (f"potentiometer of row {row}", code, hardware.read_pot(*reg.row_adc(row)))
            for row, code in enumerate(settings.pots)
        ]
        for what, wanted, got in kept:
            if got != wanted:
                raise Fault(f"{what} was set to {wanted}, and reads {got}")

    # -- rest

    def safe(self) -> None:
        """From any state: gates closed, lines disconnected and at the reference; verified.

        Raises:
            Fault: the board is not verified at rest.
        """
        self._outputs = [self._hardware.read(reg.DATA + 4 * word) for word in range(reg.WORDS)]
        self._put(off=EVERY << reg.COLUMN | EVERY << reg.ROW | 1 << reg.FULL_POWER, on=_mask(reg.LOAD_N))
        self._codes = {}
        self.rest()
        if live := self.state():
            raise Fault("not at rest: " + ", ".join(f"{line} at code {code}" for line, code in sorted(live.items())))

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
        outputs = sum(hardware.read(reg.DATA + 4 * word) << (32 * word) for word in range(reg.WORDS))
        live = {}
        for at, place in enumerate(self._places):
            kind, i = ("column", "row", "gate")[at // reg.LINES], at % reg.LINES
            code = hardware.read_dac(*place, name="raw")
            on = {"column": outputs >> (reg.COLUMN + i) & 1, "row": outputs >> (reg.ROW + i) & 1, "gate": 0}[kind]
            if on or code != (settings.closed if kind == "gate" else settings.reference):
                live[f"{kind}{i}"] = code
        return live

    # -- patterns

    def seconds(self, patterns: Sequence[Pattern]) -> float:
        """Return the time of the events of patterns, in s."""
        return sum(pattern.clocks for pattern in patterns) * self.settings.clock

    def refuse(self, patterns: Sequence[Pattern]) -> None:
        """Raise Refused, with the number of the pattern, for one that the board must not have."""
        for number, pattern in enumerate(patterns):
            wrong = self._wrong(pattern)
            if wrong:
                raise Refused(f"pattern {number}: {wrong}")

    def _wrong(self, pattern: Pattern) -> str:
        settings = self.settings
        columns, rows, gates = split(pattern.codes)
        mode = pattern.mode & ~REST
        if pattern.kernel >= reg.KERNELS:
            return f"kernel {pattern.kernel}; there are {reg.KERNELS}"
        if mode not in (READ, WRITE):
            return f"mode {pattern.mode}"
        if pattern.clocks < 1:
            return "an event of no clock"
        if pattern.column_on & ~settings.columns or pattern.row_on & ~settings.rows:
            return "a line is connected that must not be"
        if mode == READ and pattern.read & ~pattern.row_on:
            return "a row is read that is not connected"
        on_columns = [columns[i] for i in bits(pattern.column_on)]
        on_rows = [rows[i] for i in bits(pattern.row_on)] if mode == WRITE else []
        if any(not settings.lowest <= code <= reg.TOP_CODE for code in (*on_columns, *on_rows)):
            return f"a line that is connected has a code beyond {settings.lowest} to {reg.TOP_CODE}"
        if any(not (settings.closed <= code <= settings.top_gate or code == KEEP) for code in gates):
            return f"a gate has a code beyond {settings.closed} to {settings.top_gate}"
        on_columns.append(settings.reference)
        on_rows.append(settings.reference)
        up, down = max(on_columns) - min(on_rows), max(on_rows) - min(on_columns)
        if pattern.column_on != settings.columns or pattern.row_on != settings.rows:
            up = down = max(*on_columns, *on_rows) - min(*on_columns, *on_rows)  # a line that floats may be anywhere
        if up > settings.up or down > settings.down:
            return f"columns {up} codes above and {down} below rows; the most are {settings.up} and {settings.down}"
        return ""

    def run(self, patterns: Sequence[Pattern]) -> Tuple[List[int], List[int]]:
        """Carry out patterns in their order; return the codes of what they read, and the numbers of late patterns.

        A pattern is late if its event may have ended before its last conversion: its codes are worth nothing.

        Raises:
            Refused: one of them must not be; nothing was driven.
            Aborted: ended before the last one.
        """
        self.refuse(patterns)
        codes: List[int] = []
        late: List[int] = []
        try:
            for number, pattern in enumerate(patterns):
                if self.abort:
                    raise Aborted(f"after {number} of {len(patterns)} patterns")
                if not self.apply(pattern, codes):
                    late.append(number)
        finally:
            self.rest()
        return codes, late

    def apply(self, pattern: Pattern, codes: List[int]) -> bool:
        """Carry out one pattern, append the codes that it reads; return whether they were read in time."""
        if pattern.mode & REST:
            self.rest()
        mode = pattern.mode & ~REST
        self._select(pattern.kernel)
        self._mode(mode)
        self._set_codes(pattern.codes)
        started = self._event(pattern.column_on, pattern.row_on, pattern.clocks)
        end, in_time = started + pattern.clocks * self.settings.clock, True
        if mode == READ and pattern.read:
            self._hardware.wait(self.settings.settle)
            codes.extend(self._hardware.read_adc(*reg.row_adc(row)) for row in bits(pattern.read))
            in_time = self._hardware.now() <= end
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
