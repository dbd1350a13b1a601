"""An object of the public library of a Daffodil board's makers, as the hardware below our server.

Any `Daffodil_Base` of daffodil-lib is one: its simulator, its class for the physical board, a class that somebody has
derived. The server's engine (`labctl.boards.daffodil`) writes registers and converters; here these become calls of the
object, and what the object says of itself is what registers and converters read.

Calls are those that take one line, and codes: those that take volts clip what converters do not reach, and those that
take all lines write each of them. What the object keeps to itself is not read: on the physical board outputs of kernel,
modes and compliance control are the board's, codes of DACs those that the object has written.

Source: daffodillib 1b64a41, `Board/controller.py`, `Board/Components`. Its defects that matter here: a kernel that is
set is not `selected_kernel`; `set_dac_gain_mode` leaves `dac_gain_mode`, by which its checks convert, as it was; its
event of reads converts all rows as soon as it has begun, so that no time to settle can be kept.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.hardware import OneByOne
from labctl.core.units import Second

REPORTED = {
    "RA0": reg.RA0,
    "RA1": reg.RA1,
    "CA1": reg.CA1,
    "LSB": reg.ARRAY_LSB,
    "MSB": reg.ARRAY_MSB,
    "EN_IO_C": reg.ENABLE_C,
    "write_mode_C": reg.WRITE_C,
    "ext_mode_C": reg.EXTERNAL_C,
    "EN_IO_R": reg.ENABLE_R,
    "write_mode_R": reg.WRITE_R,
    "ext_mode_R": reg.EXTERNAL_R,
    "EN_IO_G": reg.ENABLE_G,
    "write_mode_G": reg.WRITE_G,
    "ext_mode_G": reg.EXTERNAL_G,
    "compliance_control": reg.FULL_POWER,
}
"""Attributes in which an object says how an output of the board is."""
ENABLES = ("EN_IO_C", "EN_IO_R", "EN_IO_G")
_MODES = sum(1 << REPORTED[f"{kind}_mode_{line}"] for kind in ("write", "ext") for line in "CRG")
_FORWARD = 1 << reg.WRITE_R
_EVERY = (1 << reg.LINES) - 1


class ObjectHardware(OneByOne):
    """`labctl.boards.daffodil.hardware.Hardware` over an object.

    Args:
        board: the object.
        reference: code of the amplifiers' reference, without which the object takes no other code.
        swapped: gates 13 and 14 are on each other's channel.
        now: returns the time, s. wait: lets a time pass, s.

    Raises:
        ValueError: `swapped`, and the object does not swap them.
    """

    def __init__(
        self, board: Any, reference: int, swapped: bool, now: Callable[[], Second], wait: Callable[[Second], None]
    ) -> None:
        self._board, self._swapped = board, swapped
        self.now, self.wait = now, wait
        self._words: dict[int, int] = {reg.ABI: reg.ABI_MAGIC}
        self._data = 0
        self._pots = [[0] * reg.ADC_CHANNELS for _ in range(reg.ADCS)]
        self._pots_set = self._fresh = False
        self._lines = {
            place(i): (call, i)
            for i in range(reg.LINES)
            for call, place in (
                ("setcoldac_channel", reg.column_dac),
                ("setrowdac_channel", reg.row_dac),
                ("setgatedac_channel", partial(reg.gate_dac, swapped=swapped)),
            )
        }
        board.set_compliance_control(0)
        board.setrefopamp(reference)
        board.set_kernel(0, swapped)
        if bool(board.swfix_en) is not swapped:
            raise ValueError(f"{type(board).__name__} does not exchange gates 13 and 14, as 'swapped_gates' has it")

    # -- registers

    def read(self, address: int) -> int:
        """Return the word of a register; outputs of which the object tells are as it tells."""
        if not reg.DATA <= address < reg.DATA + 4 * reg.WORDS:
            return self._words.get(address, 0)
        data = self._data
        for name, bit in REPORTED.items():
            data = data & ~(1 << bit) | int(getattr(self._board, name)) << bit
        return data >> 8 * (address - reg.DATA) & 0xFFFFFFFF

    def write(self, address: int, word: int) -> None:
        """Set the word of a register, and do what that does."""
        if address == reg.EVENT:
            self._event()
        elif reg.DATA <= address < reg.DATA + 4 * reg.WORDS:
            shift = 8 * (address - reg.DATA)
            before, self._data = self._data, self._data & ~(0xFFFFFFFF << shift) | word << shift
            self._changed(before)
        else:
            self._words[address] = word

    def _changed(self, before: int) -> None:
        """Have the object do what other outputs than `before` are."""
        board, data = self._board, self._data
        changed = before ^ data
        if changed & sum(1 << bit for bit in reg.KERNEL_BITS):
            kernel = sum((data >> bit & 1) << number for number, bit in enumerate(reg.KERNEL_BITS))
            board.set_kernel(kernel, self._swapped)
        if changed & _MODES:
            self._mode()
        for name in ENABLES:
            if changed >> REPORTED[name] & 1:
                setattr(board, name, data >> REPORTED[name] & 1)
        if changed >> reg.FULL_POWER & 1:
            board.set_compliance_control(data >> reg.FULL_POWER & 1)

    def _mode(self) -> None:
        """Have the modes of all lines; ValueError for modes that the engine never asks for."""
        match self._data & _MODES:
            case 0:
                self._board.config_outerproduct()
            case modes if modes == _FORWARD:
                self._board.config_forward_pass()
            case modes:
                raise ValueError(f"modes {modes:#x} of lines")

    def _event(self) -> None:
        """Do one event with the lines that are enabled."""
        forward = self._data & _MODES == _FORWARD
        self._connected(self._data >> reg.COLUMN & _EVERY, self._data >> reg.ROW & _EVERY)
        self._fresh = forward

    def _connected(self, columns: int, rows: int) -> None:
        board, clocks = self._board, self._words[reg.PULSE_LENGTH]
        self._set_pots()
        board.COL_EN_tobe[:] = [columns >> i & 1 for i in range(reg.LINES)]
        board.ROW_EN_tobe[:] = [rows >> i & 1 for i in range(reg.LINES)]
        board.read_pulse_len = board.write_pulse_len = clocks
        board.event()

    # -- converters

    def write_dac(self, dac: int, channel: int, name: str, value: int) -> None:
        """Set a property of a channel; a code is put out at once."""
        if name == "raw":
            if (dac, channel) == reg.REFERENCE:
                self._board.setrefopamp(value)
            else:
                call, i = self._lines[dac, channel]
                getattr(self._board, call)(value, i)
            return
        if self.read_dac(dac, channel, name) != value:
            properties = self._board.dacs[dac].all_channels[channel]
            (properties.update_m if name == "calibscale" else properties.update_c)(value)

    def read_dac(self, dac: int, channel: int, name: str) -> int:
        """Return a property of a channel, as the object has it."""
        properties = self._board.dacs[dac].all_channels[channel]
        return int({"raw": properties.x1, "calibscale": properties.m, "calibbias": properties.c}[name])

    def read_adc(self, adc: int, channel: int) -> int:
        """Return the code of the last event of reads; without one, that of an event with no line connected."""
        if not self._fresh:
            self._board.config_forward_pass()
            self._connected(0, 0)
            self._mode()
            self._fresh = True
        return int(self._board.retrievecurrent_channel(adc * reg.ADC_CHANNELS + channel))

    def write_pot(self, pot: int, channel: int, code: int) -> None:
        """Set the code of a potentiometer, with all others before the next event."""
        self._pots[pot][channel], self._pots_set = code, False

    def read_pot(self, pot: int, channel: int) -> int:
        """Return the code of a potentiometer, as the object has it."""
        self._set_pots()
        return int(self._board.dpots[pot].all_channels[channel].D)

    def _set_pots(self) -> None:
        if self._pots_set:
            return
        self._board.set_dpot_D([list(codes) for codes in self._pots])
        simulated = getattr(self._board, "sim_device", None)
        if simulated is not None:  # it has to have one, and makes nothing of it
            simulated.dpot_r = abs(float(self._board.pots[0]))
        self._pots_set = True

    def ohm(self, row: int) -> float:
        """Return the feedback of a row as the object has it, ohm."""
        self._set_pots()
        return abs(float(self._board.pots[row]))
