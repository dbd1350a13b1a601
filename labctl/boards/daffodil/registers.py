"""Addresses of the Daffodil board: registers, bits of its outputs, and which converter serves which line.

The words are the board's own: a column is driven and has a gate, a row has a transimpedance amplifier. Source: the
public library of its makers, https://github.com/usnistgov/daffodil-lib, commit 1b64a41 (pgpio/pgpio-lib/pgpio-lib.c and
daffodillib/Board/controller.py).
"""

from typing import Tuple

BASE = 0x41010000
"""Physical address of the window of registers."""
SIZE = 0x10000
"""Bytes of the window."""

EVENT = 0x00
"""A 1 starts an event."""
PULSE_LENGTH = 0x04
"""Clocks of an event."""
COMMAND_LENGTH = 0x20
ABI = 0x40
ABI_MAGIC = 0x12340001
"""What the register ABI reads."""

DATA = 0x1000
"""First word of the outputs; bit n is in word n // 32."""
DIRECTION = 0x2000
PULSE_MODE = 0x3000
"""Outputs that are driven while an event lasts, and only then."""
POLARITY = 0x4000
HARDWARE_CONTROL = 0x5000
WORDS = 3
"""Words of 32 outputs."""

POWER = (0, 1, 2)
POWER_DOWN = 4
"""Of the DACs."""
CLEAR_N = (5, 6, 7, 8, 9)
SYNC_N = (10, 11, 12, 13, 14)
LOAD_N = (15, 16, 17, 18, 19)
"""Of each DAC; when it falls, the DAC puts out what was written to it."""
ENABLE_C, WRITE_C, EXTERNAL_C = 20, 21, 22
ENABLE_R, WRITE_R, EXTERNAL_R = 23, 24, 25
ENABLE_G, WRITE_G, EXTERNAL_G = 26, 27, 28
ARRAY_MSB, ARRAY_LSB = 29, 30
FULL_POWER = 31
"""Compliance control. 1 is full power: the chip opens a gate wholly or not at all, whatever its voltage. Kept at 0."""
RA0, RA1 = 35, 36
CA0, CA1 = 37, 38
RESET_N = (40, 41, 42, 43, 44)
COLUMN, ROW = 46, 71
"""First bits of the enables of columns and of rows."""

LINES = 25
"""Rows, and columns, of a kernel."""
KERNELS = 32
KERNEL_BITS = (RA0, RA1, CA1, ARRAY_LSB, ARRAY_MSB)
"""Outputs of bits 0 to 4 of the number of a kernel; CA0 stays 0."""

DACS, DAC_CHANNELS = 5, 16
ADCS, ADC_CHANNELS = 7, 4
FIRST_DAC = 8
"""Number of the first DAC among the devices of IIO; the ADCs have 0 to 6."""
TOP_CODE = 4095
REFERENCE = (1, 9)
"""DAC and channel of the amplifiers' reference."""


def column_dac(column: int) -> Tuple[int, int]:
    """Return DAC and channel of a column.

    >>> column_dac(15), column_dac(16)
    ((2, 15), (3, 0))
    """
    return (2, column) if column < 16 else (3, column - 16)


def row_dac(row: int) -> Tuple[int, int]:
    """Return DAC and channel of a row."""
    return (0, row) if row < 16 else (1, row - 16)


def gate_dac(gate: int, swapped: bool = False) -> Tuple[int, int]:
    """Return DAC and channel of the gate of a column; on some boards those of gates 13 and 14 are swapped.

    >>> gate_dac(15), gate_dac(16), gate_dac(22), gate_dac(13, swapped=True)
    ((4, 15), (1, 10), (3, 9), (4, 14))
    """
    if swapped and gate in (13, 14):
        gate = 27 - gate
    if gate < 16:
        return 4, gate
    return (1, gate - 6) if gate < 22 else (3, gate - 13)


def row_adc(row: int) -> Tuple[int, int]:
    """Return ADC and channel of a row, which are also potentiometer and channel of its feedback."""
    return row // ADC_CHANNELS, row % ADC_CHANNELS
