"""Read arrays of a safetensors file: a JSON header and plain numbers, nothing that is executed.

Source: the public description of the format: eight bytes with the length of the header, little-endian; the header, JSON
by name with dtype, shape and data_offsets; the data. Checked against files that its own library (0.8.0) wrote.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.files.arrays import MAX_MEMBERS, MAX_UNPACKED

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_HEADER = 100_000_000
"""Longest header that the format allows."""


def is_safetensors(content: bytes) -> bool:
    """Return whether bytes begin like a safetensors file."""
    return len(content) > 9 and content[8:9] == b"{" and 2 <= int.from_bytes(content[:8], "little") <= _HEADER


def read_safetensors(path: Path, content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a safetensors file by name, in the order of its header; bfloat16 becomes float32.

    Raises:
        BenchError: it is not whole, or holds another type; with the name of the array.
    """
    length = int.from_bytes(content[:8], "little")
    data = memoryview(content)[8 + length :]
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"))
        entries = {str(name): dict(entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BenchError(f"{path} has no header of a safetensors file ({error}); expected JSON by name") from error
    if len(entries) > MAX_MEMBERS or len(content) > MAX_UNPACKED:
        raise BenchError(
            f"{path} has {len(entries):,} arrays in {len(content):,} bytes; expected the weights of a network"
        )
    return {name: _array(path, name, entry, data) for name, entry in entries.items()}


def _array(path: Path, name: str, entry: dict[str, Any], data: memoryview) -> npt.NDArray[Any]:
    try:
        dtype, shape, (begin, end) = str(entry["dtype"]), [int(n) for n in entry["shape"]], entry["data_offsets"]
        kind = np.dtype("<u2" if dtype == "BF16" else _TYPES[dtype])
        sound = all(0 <= n <= MAX_UNPACKED for n in shape) and 0 <= begin <= end <= len(data)
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"{path}: {name[:60]} is {str(entry.get('dtype'))[:20]}; expected {', '.join(_TYPES)} or BF16 with shape "
            "and data_offsets"
        ) from error
    if not sound or end - begin != math.prod(shape) * kind.itemsize:
        raise BenchError(
            f"{path}: {name[:60]} says {dtype} {shape}, and {len(data):,} bytes of data are there; is it whole?"
        )
    array = np.frombuffer(data[begin:end], kind).reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array
