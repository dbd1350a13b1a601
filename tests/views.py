"""What two views of one die do not have in common: its journal and its sealed file, or two of either."""

from typing import Any

import numpy as np


def same(a: object, b: object) -> bool:
    """Return whether bodies are equal: types, keys and their order, arrays by type, shape and bytes, NaN with NaN."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype.kind == "U":
            return a.dtype == b.dtype and a.tolist() == b.tolist()
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def differences(one: Any, other: Any) -> list[str]:
    """Return what two open sources of a die do not have in common: meta, events, operations, tables."""
    different = [] if same(one.meta, other.meta) else [f"meta: {one.meta} and {other.meta}"]
    different += [] if same(list(one.events()), list(other.events())) else ["events"]
    different += [] if same(list(one.operations()), list(other.operations())) else ["operations"]
    names = sorted(one.tables)
    if names != sorted(other.tables):
        return [*different, f"tables: {names} and {sorted(other.tables)}"]
    for name in names:
        a, b = one.table(name), other.table(name)
        if list(a) != list(b):
            different.append(f"columns of {name}: {list(a)} and {list(b)}")
            continue
        different += [f"{name}.{field}: {a[field]!r} and {b[field]!r}" for field in a if not same(a[field], b[field])]
        for what in ("name", "units", "columnar", "axes", "codes", "rows"):
            if getattr(a, what) != getattr(b, what):
                different.append(f"{what} of {name}: {getattr(a, what)} and {getattr(b, what)}")
    return different
