"""Bitwise arithmetic of TSP: its infix operators and its `bit` library, on 32 bits."""

from collections.abc import Callable
from typing import Any

from sim_backend.emulators.tsp.vm import Refusal, number


def _word(value: Any) -> int:
    return int(number(value)) & 0xFFFFFFFF


OPERATORS: tuple[Callable[[Any, Any], int], ...] = (
    lambda a, b: _word(a) & _word(b),
    lambda a, b: _word(a) | _word(b),
    lambda a, b: _word(a) ^ _word(b),
    lambda a, b: (_word(a) << min(_word(b), 32)) & 0xFFFFFFFF,
    lambda a, b: _word(a) >> min(_word(b), 32),
)


def bit_library() -> dict[str | int, Any]:
    """Return the functions of TSP's `bit` table; bits are counted from 1 (2600B reference manual, `bit.*`)."""

    def mask(index: Any, width: Any = 1) -> tuple[int, int]:
        first, bits = int(number(index)), int(number(width))
        if not (first >= 1 and bits >= 1 and first + bits <= 33):
            raise Refusal(1101, "Parameter too big")
        return first - 1, (1 << bits) - 1

    def get(value: Any, index: Any) -> int:
        return _word(value) & (1 << mask(index)[0])

    def field(value: Any, index: Any, width: Any) -> int:
        shift, ones = mask(index, width)
        return (_word(value) >> shift) & ones

    def set_field(value: Any, index: Any, width: Any, new: Any) -> int:
        shift, ones = mask(index, width)
        return (_word(value) & ~(ones << shift)) | ((_word(new) & ones) << shift)

    return {
        "bitand": OPERATORS[0],
        "bitor": OPERATORS[1],
        "bitxor": OPERATORS[2],
        "clear": lambda v, i: _word(v) & ~(1 << mask(i)[0]),
        "set": lambda v, i: _word(v) | (1 << mask(i)[0]),
        "toggle": lambda v, i: _word(v) ^ (1 << mask(i)[0]),
        "test": lambda v, i: get(v, i) != 0,
        "get": get,
        "getfield": field,
        "setfield": set_field,
    }
