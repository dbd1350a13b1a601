"""Files as other programs write them, made by hand from the descriptions of their formats."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def safetensors(arrays: Mapping[str, Any], kind: str) -> bytes:
    """Return a safetensors file with arrays of one type: F64, F32, F16 or BF16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        if kind == "BF16":
            raw = (np.asarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = np.asarray(array, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[kind]).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
