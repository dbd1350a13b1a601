"""What another program may have left on an emulated Daffodil board, each part at a random legal value.

Parts are all registers, outputs, channels of DACs and potentiometers that there are, an event that lasts, and another
client. No event opens a gate here, so that cells stay as they are.
"""

import json
from collections.abc import Callable
from functools import partial
from random import Random

from labctl.boards.daffodil import patterns, settings
from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.service import Service
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.leftovers import Leave

BANKS = {
    "direction": reg.DIRECTION,
    "pulse_mode": reg.PULSE_MODE,
    "polarity": reg.POLARITY,
    "hardware_control": reg.HARDWARE_CONTROL,
}
NAMES = {
    "power": reg.POWER,
    "power_down": (reg.POWER_DOWN,),
    "clear_n": reg.CLEAR_N,
    "sync_n": reg.SYNC_N,
    "load_n": reg.LOAD_N,
    "reset_n": reg.RESET_N,
    "mode_c": (reg.ENABLE_C, reg.WRITE_C, reg.EXTERNAL_C),
    "mode_r": (reg.ENABLE_R, reg.WRITE_R, reg.EXTERNAL_R),
    "mode_g": (reg.ENABLE_G, reg.WRITE_G, reg.EXTERNAL_G),
    "kernel": (*reg.KERNEL_BITS, reg.CA0),
    "full_power": (reg.FULL_POWER,),
    "column": tuple(reg.COLUMN + i for i in range(reg.LINES)),
    "row": tuple(reg.ROW + i for i in range(reg.LINES)),
}
"""Outputs by what they are."""
RANGES = {"raw": (0, reg.TOP_CODE), "calibscale": (0, reg.TOP_CODE), "calibbias": (-2048, 2047)}


def leftovers(board: EmulatedBoard, service: Service) -> dict[str, Leave]:
    """Return how each part of the state of a board and its server is left, by the name of the part."""
    parts: dict[str, Leave] = {
        f"register.{name}.{word}": partial(_register, board, base + 4 * word)
        for name, base in BANKS.items()
        for word in range(reg.WORDS)
    }
    parts |= {
        "register.pulse_length": partial(_register, board, reg.PULSE_LENGTH),
        "register.command_length": partial(_register, board, reg.COMMAND_LENGTH),
    }
    parts |= {f"output.{name}": partial(_output, board, bits) for name, bits in NAMES.items()}
    parts |= {f"dac.{name}": partial(_dac, board, name, load) for name in RANGES for load in (True,)} | {
        "dac.raw, not loaded": partial(_dac, board, "raw", False)
    }
    parts |= {"potentiometer": partial(_pot, board), "event": partial(_event, board)}
    return parts | {"client": partial(_client, service), "settings": partial(_settings, service)}


def _register(board: EmulatedBoard, address: int, rng: Random) -> str:
    before, word = board.read(address), rng.getrandbits(32)
    board.write(address, word)
    return f"0x{before:08x} is 0x{word:08x}"


def _output(board: EmulatedBoard, bits: tuple[int, ...], rng: Random) -> str:
    bit = rng.choice(bits)
    word = reg.DATA + 4 * (bit // 32)
    board.write(word, board.read(word) ^ 1 << bit % 32)
    return f"output {bit} is {board.read(word) >> bit % 32 & 1}"


def _dac(board: EmulatedBoard, name: str, load: bool, rng: Random) -> str:
    """Leave a channel of a line, a gate or the reference, or one that nothing is on."""
    dac, channel = rng.randrange(reg.DACS), rng.randrange(reg.DAC_CHANNELS)
    value = rng.randint(*RANGES[name])
    board.write_dac(dac, channel, name, value)
    if load:
        outputs = board.read(reg.DATA)
        for word in (outputs & ~(1 << reg.LOAD_N[dac]), outputs):
            board.write(reg.DATA, word)
    return f"DAC {dac}, {channel} at {value}"


def _pot(board: EmulatedBoard, rng: Random) -> str:
    pot, channel, code = rng.randrange(reg.ADCS), rng.randrange(reg.ADC_CHANNELS), rng.randrange(256)
    board.write_pot(pot, channel, code)
    return f"potentiometer {pot}, {channel} at {code}"


def _event(board: EmulatedBoard, rng: Random) -> str:
    clocks = rng.randrange(1, 1 << 28)
    board.write(reg.PULSE_LENGTH, clocks)
    board.write(reg.EVENT, 1)
    return f"an event of {clocks * board.clock:.3g} s"


def _taken(service: Service, rng: Random) -> str:
    lease = rng.uniform(1.0, 60.0)
    claim = {"version": patterns.VERSION, "client": "somebody", "lease": lease}
    return service.handle(f"TAKE {json.dumps(claim)}").partition(" ")[2]


def _client(service: Service, rng: Random) -> str:
    return f"a lease {_taken(service, rng)}"


def _settings(service: Service, rng: Random) -> str:
    """Leave the settings of a client that has ended since."""
    token = _taken(service, rng)
    drawn: dict[str, Callable[[], object]] = {
        "closed": lambda: rng.randint(1300, 1500),
        "reference": lambda: rng.randint(1400, 2500),
        "m": lambda: rng.randint(4000, 4094),
        "c": lambda: rng.randint(-20, 20),
        "clock": lambda: rng.uniform(1e-9, 1e-6),
        "settle": lambda: rng.uniform(0, 1e-3),
        "rest_clocks": lambda: rng.randint(1, 2000),
        "columns": lambda: rng.getrandbits(25),
        "rows": lambda: rng.getrandbits(25),
        "pots": lambda: [rng.randrange(256) for _ in range(reg.LINES)],
        "swapped": lambda: rng.random() < 0.5,
    }
    assert drawn.keys() <= set(settings.Settings._fields)
    name = rng.choice(sorted(drawn))
    value = drawn[name]()
    service.handle(f"SET {token} {json.dumps({name: value})}")
    service.handle(f"END {token}")
    return f"{name} {value}"
