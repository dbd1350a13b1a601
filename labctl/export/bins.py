"""The hard bins of a run as a SEMI G85 wafer map."""

from pathlib import Path

from labctl.config.bins import is_good, is_measured
from labctl.core.errors import BenchError
from labctl.core.planned_fault import InjectedFaults
from labctl.storage.identity import Identity
from labctl.storage.run_log import RunState
from labctl.wafer_maps.model import Place, WaferMap
from labctl.wafer_maps.write_g85 import write_g85


def write_bins(state: RunState, path: Path) -> None:
    """Write the newest hard bin of every die of the wafer to a new file; dies without one are written as not tested.

    Where several subsites share a place the worst of them stands for it: the highest hard bin, and one that nothing
    judges only beside good ones. A bin that nothing judges has no quality.

    Raises:
        BenchError: a hard bin is beyond what the format holds, or faults were injected, which a map cannot say.
        FileExistsError: there is such a file.
    """
    if (faults := InjectedFaults.of(state.meta.get("faults"))) is not None:
        raise BenchError(f"a run with {faults.text} is no measurement, and a map of bins could not say so")
    identity = Identity.of(state)
    worst = dict.fromkeys(identity.places, 0)
    for die in state.subjects:
        worst[die.at] = max(worst.get(die.at, 0), die.last.hard if die.last else 0, key=_gravity)
    places = tuple(Place(x, y, f"x{x}y{y}") for x, y in sorted(worst, key=lambda at: (at[1], at[0])))
    bins = {f"x{x}y{y}": hard for (x, y), hard in worst.items() if hard}
    wafer_map = WaferMap(places, identity.wafer, identity.lot, identity.notch, reference=identity.reference)
    text = write_g85(wafer_map, bins, {hard for hard in bins.values() if is_measured(hard)})
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _gravity(hard: int) -> tuple[bool, int]:
    """Return what hard bins of one place are ordered by: 0 for none, good, not judged, and the others by their number.

    >>> max(99, 4, key=_gravity), max(99, 1, key=_gravity), max(0, 1, key=_gravity)
    (4, 99, 1)
    """
    return (hard != 0 and not is_good(hard) and not is_measured(hard), hard)
