"""What a document may ask for by the mark ``<!-- generated: NAME -->``: made from the code when the site is built."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from docsite import commands, decisions, declarations, file_keys

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"<!-- generated: ([^>]+?) -->")
FILES = ("campaign", "die", "wafer", "bench", "board", "training")
"""Kinds of files that people write."""


def _keys(kind: str) -> str:
    from labctl import files
    from labctl.cli.schema import models

    return file_keys.render(files.schema(models()[kind]))


def _names() -> str:
    """Return what ``import labctl`` offers, for the builder's directive of each."""
    import labctl

    return "\n".join(f"::: {labctl._HOMES[name]}.{name}\n" for name in labctl.__all__)


def _plug_ins() -> str:
    """Return what protocols, drivers and bodies of other distributions are written against."""
    return "\n".join(f"::: {name}\n" for name in FOR_PLUG_INS)


FOR_PLUG_INS = (
    "labctl.core.procedure",
    "labctl.core.die",
    "labctl.core.operations",
    "labctl.core.record",
    "labctl.core.figure",
    "labctl.core.picture",
    "labctl.core.inputs",
    "labctl.core.driver",
    "labctl.core.source",
    "labctl.core.switch_matrix",
    "labctl.core.prober",
    "labctl.core.pulse_source",
    "labctl.core.board",
    "labctl.core.units",
    "protocols.bias",
    "protocols.settings",
    "labctl.testing",
)
"""Modules that the page on plug-ins shows."""

GENERATED: Mapping[str, Callable[[], str]] = {
    **{f"keys of {kind}": partial(_keys, kind) for kind in FILES},
    "commands": commands.render,
    "figures": declarations.figures,
    "events": declarations.events,
    "examples": lambda: declarations.examples(ROOT / "examples"),
    "decisions": lambda: decisions.render(ROOT / "docs" / "decisions"),
    "names of labctl": _names,
    "names for plug-ins": _plug_ins,
}
"""What a mark may ask for."""
