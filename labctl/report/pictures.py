"""Draw the pictures of a run."""

from pathlib import Path

from labctl.core.errors import StorageError
from labctl.report.die_figures import _ordered, _scatter_points, _table, figures
from labctl.storage.results import open_run


def plot(path: Path) -> list[Path]:
    """Draw the pictures of every started die into RUN/plots and return their paths.

    The sealed file of one die, ``RUN/dies/NAME.h5``, is drawn into RUN/plots as well, a file elsewhere beside itself.

    Raises:
        StorageError: the folder cannot be written.
    """
    from labctl.report import die_plots

    run = open_run(path)
    home = run.path
    if home.is_file():
        home = home.absolute().parent
        home = home.parent if home.name == "dies" else home
    folder = home / "plots"
    try:
        folder.mkdir(exist_ok=True)
        drawn = []
        for name in (n for n in _ordered(run) if n in run.dies):
            die, picture = run.die(name), folder / f"{name}.png"
            die_plots.die_picture(
                figures(run, name), _scatter_points(die), _table(die, "readback"), die_plots.caption(die), picture
            )
            drawn.append(picture)
    except OSError as error:
        raise StorageError(f"{folder}: pictures cannot be written: {error.strerror or error}") from error
    return drawn
