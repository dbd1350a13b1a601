"""Wafer, lot and map of a run, as other people's formats name them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labctl.storage.run_log import RunState


def run_id_of(meta: Mapping[str, Any]) -> str:
    """Return the digest of what a run was started with, 32 hexadecimal digits: the same wherever its folder lies."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Identity:
    """Which wafer a run was on.

    Args:
        wafer: its name, that of the run if the run was on none.
        lot: "" if no file names one.
        notch: degrees clockwise from the bottom, None if unknown.
        reference: (x, y) of the reference device of its map, None if unknown.
        places: (x, y) of every die of the wafer, those that were not run included; empty without a wafer.
    """

    wafer: str
    lot: str = ""
    notch: int | None = None
    reference: tuple[int, int] | None = None
    places: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, state: RunState) -> "Identity":
        """Return it for a run."""
        about: dict[str, Any] = state.meta.get("wafer_map") or {}
        wafer = next((str(d["wafer"]) for d in state.meta["dies"] if d.get("wafer")), str(state.meta.get("name", "")))
        reference = about.get("reference")
        return cls(
            about.get("wafer") or wafer,
            about.get("lot", ""),
            about.get("notch"),
            None if reference is None else (reference[0], reference[1]),
            tuple((x, y) for x, y in about.get("places", ())),
        )
