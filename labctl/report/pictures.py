"""Draw the pictures of a run."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from labctl.core.errors import StorageError
from labctl.core.figure import Figures
from labctl.core.picture import Declared, pictures_of_run
from labctl.report.die_figures import _ordered, _scatter_points, _table, figures
from labctl.report.drawings import Drawings
from labctl.report.formulas import formulas_of
from labctl.storage.results import DieData, Run, open_run
from labctl.storage.run_log import RunState, read_state
from labctl.storage.tables import Table


def plot(path: Path, drawings: Drawings | None = None, only: str | None = None) -> list[Path]:
    """Draw the wafer, and every started die that has something to draw, into RUN/plots; return the paths.

    The sealed file of one die, ``RUN/dies/NAME.h5``, is drawn into RUN/plots as well, a file elsewhere beside itself.

    Args:
        drawings: keeps what could not be drawn.
        only: the die that is drawn besides the wafer; every die if None.

    Raises:
        StorageError: the folder cannot be written.
    """
    from labctl.report import die_plots, wafer_plot

    drawings = drawings or Drawings()
    run = open_run(path)
    home = run.path
    if home.is_file():
        home = home.absolute().parent
        home = home.parent if home.name == "dies" else home
    folder = home / "plots"
    try:
        folder.mkdir(exist_ok=True)
        drawn = []
        formulas = formulas_of(run.meta)
        state = read_state(run.path) if run.path.is_dir() and (run.path / "journal.db").is_file() else None
        if state is not None and len(state.subjects) > 1:
            drawn.append(folder / f"{_wafer_name(state.dies)}.png")
            wafer_plot.draw(state, dict(_values(run, state, formulas)), drawn[0])
        for name in (n for n in _ordered(run) if n in run.dies and only in (None, n)):
            die, picture = run.die(name), folder / f"{name}.png"
            if die_plots.die_picture(
                figures(run, name, formulas),
                _declared(die, pictures_of_run(run.meta)),
                _scatter_points(die),
                _table(die, "readback"),
                die_plots.caption(die),
                picture,
                drawings,
            ):
                drawn.append(picture)
    except OSError as error:
        raise StorageError(f"{folder}: pictures cannot be written: {error.strerror or error}") from error
    return drawn


def _values(run: Run, state: RunState, formulas: Figures) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield the figures of dies by name, from the journal of the run where a die has ended, else from its own."""
    for die in state.subjects:
        if die.last is not None and die.last.figures:
            yield die.name, die.last.figures
        elif die.name in run.dies:
            yield die.name, figures(run, die.name, formulas, tables=False).values


def _wafer_name(dies: Collection[str]) -> str:
    """Return the name of the picture of the wafer, which is that of no die.

    >>> _wafer_name(["A"]), _wafer_name(["Wafer"])
    ('wafer', 'wafer~')
    """
    return "wafer~" if any(die.lower() == "wafer" for die in dies) else "wafer"


def _declared(die: DieData, pictures: Sequence[Declared]) -> list[tuple[Declared, Table]]:
    """Return the declared pictures of which the die has the table."""
    tables = ((declared, _table(die, declared.picture.table)) for declared in pictures)
    return [(declared, table) for declared, table in tables if table is not None]
