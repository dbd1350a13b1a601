"""The columns of a fleet: what every row has, and what the columns of figures are called."""

from collections.abc import Mapping

TEXT, WHOLE, NUMBER, YES, TIME = "text", "whole number", "number", "yes or no", "time"
"""Kinds of columns."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "run": (TEXT, "folder of the run"),
    "run_id": (TEXT, "digest of what the run was started with; the same wherever its folder lies"),
    "campaign": (TEXT, "name of the campaign"),
    "started": (TIME, "when the run was started"),
    "lot": (TEXT, "lot of the wafer"),
    "wafer": (TEXT, "name of the wafer, that of the campaign without one"),
    "notch": (WHOLE, "where the notch of the wafer is, degrees clockwise from the bottom; empty where it is unknown"),
    "die": (TEXT, "name of the die"),
    "x": (WHOLE, "column on the prober's map"),
    "y": (WHOLE, "row on the prober's map"),
    "zone": (TEXT, "centre, middle or edge of the wafer; empty on a map of fewer than 4 columns or rows"),
    "golden": (YES, "a visit of the golden die, which counts in no yield"),
    "size": (TEXT, "nominal diameter of the kernels of the row; empty where all kernels of the die have one"),
    "state": (TEXT, "state of the newest try: done, pending, error, ..."),
    "reason": (TEXT, "why it is in that state"),
    "bin": (TEXT, "soft bin; empty if it has none"),
    "hard": (WHOLE, "hard bin; 1 is good, 99 measured and judged by nothing, 0 none"),
    "suspect": (TEXT, "why its figures are in doubt"),
    "tries": (WHOLE, "how often it was tried"),
    "finished": (TIME, "when the newest try ended or was last heard of; the start of the run if there was none"),
    "retest": (TEXT, "run_id of the earlier run whose dies this run measured again; empty of a run that is no retest"),
    "body": (TEXT, "what the dies were: simulated, a bench, or its twin"),
    "faults": (YES, "faults were injected to rehearse a night: no measurement"),
    "operator": (TEXT, "who ran it"),
    "seed": (WHOLE, "seed of the run"),
    "version": (TEXT, "of mtj-labctl"),
    "commit": (TEXT, "of its source"),
    "sha256": (TEXT, "of the sealed file of the die"),
}
"""Columns that every row has, with their kind and meaning; all others are figures, in SI units, ratios from 0 to 1."""
_CLASH = "figure_"


def column_of(figure: str) -> str:
    """Return the column of a figure, which is its key unless every row has a column of that name.

    >>> column_of("tmr"), column_of("bin")
    ('tmr', 'figure_bin')
    """
    return f"{_CLASH}{figure}" if figure in COLUMNS else figure


def figure_of(column: str) -> str:
    """Return the key of the figure of a column.

    >>> figure_of("tmr"), figure_of("figure_bin"), figure_of("figure_of_merit")
    ('tmr', 'bin', 'figure_of_merit')
    """
    key = column.removeprefix(_CLASH)
    return key if key in COLUMNS else column
