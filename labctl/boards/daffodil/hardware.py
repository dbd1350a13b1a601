"""The seam between the server and a board: registers, converters, time. An emulated board fills it too."""

import mmap
import os
import time
from typing import Dict, List, Protocol, Sequence, Tuple

from . import registers as reg


class Hardware(Protocol):
    """A board, real or emulated."""

    def read(self, address: int) -> int:
        """Return the word of a register."""
        ...

    def write(self, address: int, word: int) -> None:
        """Set the word of a register."""
        ...

    def write_dac(self, dac: int, channel: int, name: str, value: int) -> None:
        """Set `raw` (the code), `calibscale` (m) or `calibbias` (c) of a channel; the output follows when loaded."""
        ...

    def read_dac(self, dac: int, channel: int, name: str) -> int:
        """Return `raw`, `calibscale` or `calibbias` of a channel."""
        ...

    def read_dacs(self, places: Sequence[Tuple[int, int]], name: str) -> List[int]:
        """Return the same of several channels, as DAC and channel."""
        ...

    def read_adc(self, adc: int, channel: int) -> int:
        """Convert, and return the code."""
        ...

    def read_adcs(self, places: Sequence[Tuple[int, int]]) -> List[int]:
        """Convert one after the other, as ADC and channel, and return their codes."""
        ...

    def write_pot(self, pot: int, channel: int, code: int) -> None:
        """Set the code of a potentiometer."""
        ...

    def read_pot(self, pot: int, channel: int) -> int:
        """Return the code of a potentiometer."""
        ...

    def now(self) -> float:
        """Return seconds that only grow."""
        ...

    def wait(self, seconds: float) -> None:
        """Let a time pass, in s."""
        ...


class OneByOne:
    """Converters that are asked one after the other."""

    def read_dac(self, dac: int, channel: int, name: str) -> int:
        """Return a property of a channel of a DAC."""
        raise NotImplementedError

    def read_adc(self, adc: int, channel: int) -> int:
        """Convert, and return the code."""
        raise NotImplementedError

    def read_dacs(self, places: Sequence[Tuple[int, int]], name: str) -> List[int]:
        """Return a property of several channels, as DAC and channel."""
        return [self.read_dac(dac, channel, name) for dac, channel in places]

    def read_adcs(self, places: Sequence[Tuple[int, int]]) -> List[int]:
        """Convert one after the other, as ADC and channel, and return their codes."""
        return [self.read_adc(adc, channel) for adc, channel in places]


class LinuxHardware(OneByOne):
    """The board from its own Linux: registers through a file that maps memory, converters through files of sysfs.

    Args:
        memory: file whose bytes from `base` on are the registers.
        base: address of the window in that file.
        iio: folder of the devices of IIO.
        spi: folder of the devices of SPI.

    Raises:
        OSError: a file is not there, or must not be opened.
    """

    def __init__(
        self,
        memory: str = "/dev/mem",
        base: int = reg.BASE,
        iio: str = "/sys/bus/iio/devices",
        spi: str = "/sys/bus/spi/devices",
    ) -> None:
        self._iio, self._spi = iio, spi
        self._files: Dict[str, int] = {}
        descriptor = os.open(memory, os.O_RDWR | os.O_SYNC)
        try:
            self._map = mmap.mmap(descriptor, reg.SIZE, offset=base)
        finally:
            os.close(descriptor)
        # whole words: a register must not be written byte by byte
        self._view = memoryview(self._map)
        self._words = self._view.cast("I")

    def close(self) -> None:
        """Close every file."""
        self._words.release()
        self._view.release()
        self._map.close()
        while self._files:
            os.close(self._files.popitem()[1])

    def read(self, address: int) -> int:
        """Return the word of a register."""
        return int(self._words[address // 4])

    def write(self, address: int, word: int) -> None:
        """Set the word of a register."""
        self._words[address // 4] = word

    def _file(self, path: str, how: int) -> int:
        if path not in self._files:
            self._files[path] = os.open(path, how)
        return self._files[path]

    def _put(self, path: str, value: int) -> None:
        os.pwrite(self._file(path, os.O_RDWR), b"%d\n" % value, 0)

    def _get(self, path: str, how: int = os.O_RDWR) -> int:
        return int(os.pread(self._file(path, how), 16, 0).split()[0])

    def _dac(self, dac: int, channel: int, name: str) -> str:
        return f"{self._iio}/iio:device{reg.FIRST_DAC + dac}/out_voltage{channel}_{name}"

    def write_dac(self, dac: int, channel: int, name: str, value: int) -> None:
        """Set a property of a channel of a DAC."""
        self._put(self._dac(dac, channel, name), value)

    def read_dac(self, dac: int, channel: int, name: str) -> int:
        """Return a property of a channel of a DAC."""
        return self._get(self._dac(dac, channel, name))

    def read_adc(self, adc: int, channel: int) -> int:
        """Convert, and return the code."""
        return self._get(f"{self._iio}/iio:device{adc}/in_voltage{channel}_raw", os.O_RDONLY)

    def _pot(self, pot: int, channel: int) -> str:
        return f"{self._spi}/spi13.{pot}/rdac{channel}"

    def write_pot(self, pot: int, channel: int, code: int) -> None:
        """Set the code of a potentiometer."""
        self._put(self._pot(pot, channel), code)

    def read_pot(self, pot: int, channel: int) -> int:
        """Return the code of a potentiometer."""
        return self._get(self._pot(pot, channel))

    def now(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Let a time pass, in s: short ones to the microsecond, which a sleep does not keep."""
        end = time.monotonic() + seconds
        if seconds > 2e-3:
            time.sleep(seconds - 1e-3)
        while time.monotonic() < end:
            pass
