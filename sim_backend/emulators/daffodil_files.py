"""An emulated Daffodil board behind files and registers, as programs on its own Linux have them.

The converters are files in a folder, as those of sysfs; what a program writes to them is taken over when the registers
make the board act on it, and the codes of the ADCs are written when an event has made them. Registers are a mapped file
for `labctl.boards.daffodil.hardware.LinuxHardware`, or the memory of a C library with the functions of the board
makers' own, `libpgpio`.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.hardware import LinuxHardware
from sim_backend.emulators.daffodil_board import EmulatedBoard

PROPERTIES = ("raw", "calibscale", "calibbias")
LOADS = sum(1 << bit for bit in reg.LOAD_N)
WATCHED = (
    *(
        base + 4 * word
        for base in (reg.DIRECTION, reg.PULSE_MODE, reg.POLARITY, reg.HARDWARE_CONTROL)
        for word in range(3)
    ),
    reg.PULSE_LENGTH,
    reg.COMMAND_LENGTH,
    *(reg.DATA + 4 * word for word in (1, 2, 0)),
)
"""Registers that a function of a library may have changed."""


class BoardFiles:
    """The converters of an emulated board as files.

    Args:
        board: the emulated board.
        folder: is made, with the folders `iio` and `spi` of devices in it.
    """

    def __init__(self, board: EmulatedBoard, folder: Path) -> None:
        self.board, self.iio, self.spi = board, folder / "iio", folder / "spi"
        for adc in range(reg.ADCS):
            device = self._device(self.iio / f"iio:device{adc}", "name", "ads7950")
            (device / "in_voltage_scale").write_text("0.610351562\n")
            for channel in range(reg.ADC_CHANNELS):
                (device / f"in_voltage{channel}_raw").write_text("0\n")
        for dac in range(reg.DACS):
            device = self._device(self.iio / f"iio:device{reg.FIRST_DAC + dac}", "name", "ad5391-5")
            for channel in range(reg.DAC_CHANNELS):
                for name in PROPERTIES:
                    value = board.read_dac(dac, channel, name)
                    (device / f"out_voltage{channel}_{name}").write_text(f"{value}\n")
        for pot in range(reg.ADCS):
            device = self._device(self.spi / f"spi13.{pot}", "modalias", "spi:ad8403")
            for channel in range(reg.ADC_CHANNELS):
                (device / f"rdac{channel}").write_text(f"{board.read_pot(pot, channel)}\n")

    @staticmethod
    def _device(folder: Path, file: str, name: str) -> Path:
        folder.mkdir(parents=True)
        (folder / file).write_text(f"{name}\n")
        return folder

    def registered(self, address: int, word: int) -> None:
        """Have the board act on a register that was written, with the files as they are."""
        loads = address == reg.DATA and self.board.read(address) & ~word & LOADS
        if loads or (address == reg.EVENT and word & 1):
            self._pull()
        self.board.write(address, word)
        if address == reg.EVENT and word & 1:
            for adc in range(reg.ADCS):
                for channel in range(reg.ADC_CHANNELS):
                    code = self.board.code(adc * reg.ADC_CHANNELS + channel)
                    (self.iio / f"iio:device{adc}" / f"in_voltage{channel}_raw").write_text(f"{code}\n")

    def _pull(self) -> None:
        """Take over what was written to the files of DACs and potentiometers."""
        for dac in range(reg.DACS):
            for channel in range(reg.DAC_CHANNELS):
                for name in PROPERTIES:
                    path = self.iio / f"iio:device{reg.FIRST_DAC + dac}" / f"out_voltage{channel}_{name}"
                    value = _number(path)
                    if value != self.board.read_dac(dac, channel, name):
                        self.board.write_dac(dac, channel, name, value)
        for pot in range(reg.ADCS):
            for channel in range(reg.ADC_CHANNELS):
                code = _number(self.spi / f"spi13.{pot}" / f"rdac{channel}")
                if code != self.board.read_pot(pot, channel):
                    self.board.write_pot(pot, channel, code)


def _number(path: Path) -> int:
    return int(path.read_bytes().split()[0])


class MappedHardware(LinuxHardware):
    """`LinuxHardware` on the files of an emulated board, whose clock is that of its world.

    Args:
        files: of the board.
        memory: file of `registers.SIZE` bytes for the registers.
    """

    def __init__(self, files: BoardFiles, memory: Path) -> None:
        memory.write_bytes(bytes(reg.SIZE))
        super().__init__(str(memory), 0, str(files.iio), str(files.spi))
        self._board_files = files
        super().write(reg.ABI, files.board.read(reg.ABI))

    def write(self, address: int, word: int) -> None:
        """Set the word of a register, which the board acts on."""
        super().write(address, word)
        self._board_files.registered(address, word)

    def now(self) -> float:
        """Return the time of the world, s."""
        return self._board_files.board.now()

    def wait(self, seconds: float) -> None:
        """Let a time pass, s."""
        self._board_files.board.wait(seconds)


class CLibrary:
    """The board makers' C library over an emulated board: its own code, on registers in its own memory.

    After each of its functions the board acts on what that has written.

    Args:
        library: loaded; its `open_test` has registers in memory.
        files: of the board.
    """

    def __init__(self, library: ctypes.CDLL, files: BoardFiles) -> None:
        self._library, self._files = library, files
        self._handle = library._handle
        library.get_regs.restype = ctypes.POINTER(ctypes.c_uint32)
        self.writes = 0
        """Calls of functions that write a bit or a word."""

    def open_mem(self) -> int:
        """Have registers in memory."""
        status = int(self._library.open_test())
        self._words = self._library.get_regs()
        for address in WATCHED:
            self._words[address // 4] = 0
        self._words[reg.EVENT // 4] = 0
        self._words[reg.ABI // 4] = self._files.board.read(reg.ABI)
        return status

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> Any:
            result = function(*arguments)
            if name == "init" or name.endswith(("_write", "write_bit", "write_bit_range")):
                self.writes += 1
                self._act()
            return result

        return call

    def _act(self) -> None:
        for address in WATCHED:
            word = int(self._words[address // 4])
            if word != self._files.board.read(address):
                self._files.registered(address, word)
        if self._words[reg.EVENT // 4]:
            self._words[reg.EVENT // 4] = 0
            self._files.registered(reg.EVENT, 1)
