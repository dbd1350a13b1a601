"""The hard bins of a run as a SEMI G85 wafer map."""

from pathlib import Path

from labctl.storage.run_log import RunState
from labctl.wafer_maps.model import Place, WaferMap
from labctl.wafer_maps.semi_g85 import write_g85


def write_bins(state: RunState, path: Path) -> None:
    """Write the newest hard bin of every die to a new file; dies without one have the null bin.

    Where several subsites share a place the worst of them stands for it, the highest hard bin.

    Raises:
        BenchError: a hard bin is beyond what the format holds.
        FileExistsError: there is such a file.
    """
    worst: dict[tuple[int, int], int] = {}
    for die in state.subjects:
        worst[die.at] = max(worst.get(die.at, 0), die.last.hard if die.last else 0)
    wafer = next((str(d["wafer"]) for d in state.meta["dies"] if d.get("wafer")), str(state.meta.get("name", "")))
    places = tuple(Place(x, y, f"x{x}y{y}") for x, y in sorted(worst, key=lambda at: (at[1], at[0])))
    bins = {f"x{x}y{y}": hard for (x, y), hard in worst.items() if hard}
    text = write_g85(WaferMap(places, wafer=wafer), bins)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
