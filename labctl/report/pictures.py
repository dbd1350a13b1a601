"""Draw the pictures of a run."""

from collections.abc import Sequence
from pathlib import Path

from labctl.core.errors import StorageError
from labctl.core.picture import Declared, pictures_of_run
from labctl.report.die_figures import _ordered, _scatter_points, _table, figures
from labctl.report.drawings import Drawings
from labctl.report.formulas import formulas_of
from labctl.storage.results import DieData, open_run
from labctl.storage.tables import Table


def plot(path: Path, drawings: Drawings | None = None) -> list[Path]:
    """Draw the pictures of every started die that has something to draw into RUN/plots; return their paths.

    The sealed file of one die, ``RUN/dies/NAME.h5``, is drawn into RUN/plots as well, a file elsewhere beside itself.

    Args:
        drawings: keeps what could not be drawn.

    Raises:
        StorageError: the folder cannot be written.
    """
    from labctl.report import die_plots

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
        for name in (n for n in _ordered(run) if n in run.dies):
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


def _declared(die: DieData, pictures: Sequence[Declared]) -> list[tuple[Declared, Table]]:
    """Return the declared pictures of which the die has the table."""
    tables = ((declared, _table(die, declared.picture.table)) for declared in pictures)
    return [(declared, table) for declared, table in tables if table is not None]
