"""Predict the bench hours of 36 dies by ways to program and read them, and say what they go to.

Run ``python benchmarks/hours.py`` (some 25 s; ``--small`` for a die of 3 x 4 cells, the size that the tests run;
``--json`` for machines). The campaign is the Wine example with all of its 24 networks on dies of two 15 x 15 arrays,
the bench ``examples/bench-two-arrays.yaml`` with what a way changes. Nothing runs: the times are those of
`labctl plan`, for the pulses that the die file lets expect. A time is a sum of terms, so that what a cause takes is the
difference that its figure makes at 0.
"""

# ruff: noqa: E402  (the folder of the packages is put on the path first)
import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import soak

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from instruments.bench import Bench
from instruments.contact import check_time
from instruments.probed_die import ProbedDie
from labctl.execution.plan import CountedDie, rehearse
from labctl.station import composition
from labctl.station.rehearse import expected_cells, predictor

CAMPAIGN, BENCH = ROOT / "examples" / "wine-passive.yaml", ROOT / "examples" / "bench-two-arrays.yaml"
DIES = 36
CAUSES = {
    "relays moving": {"timing": {"relay": 0.0}},
    "waits after relays": {"settling": {"relays": 0.0}},
    "messages": {"timing": {"message": 0.0}},
    "commands over TSP-Link": {"timing": {"link": 0.0}},
    "readings that verify 0 V": {"outputs": {"cold_aperture": 1e-5}},
    "waits before readings": {"settling": {"source": 0.0}},
    "overhead of readings": {"timing": {"measure_overhead": 0.0}},
    "source settling": {"timing": {"source_settle": 0.0}},
}
"""Figures of a bench, at what makes nothing of them."""


@dataclass(frozen=True)
class Way:
    """How a bench is used.

    Args:
        nodes: of the instruments on TSP-Link.
        more: another 2602B, on two more rows of the matrix.
        changes: of the campaign.
    """

    name: str
    programming: str = "host"
    nodes: tuple[str, ...] = ()
    joined: bool = False
    more: bool = False


LINKED = ("smu1", "smu2", "matrix")
WAYS = (
    Way("by the host"),
    Way("write-verify and reads inside, matrix on TSP-Link", "instrument", LINKED),
    Way("inside, two 2602Bs joined", "instrument", LINKED, joined=True),
    Way("inside, three 2602Bs joined", "instrument", (*LINKED, "smu3"), joined=True, more=True),
)


def bench_of(way: Way, bench: Bench) -> Bench:
    """Return a bench as a way has it."""
    entries, wiring = dict(bench.instruments), bench.wiring
    if way.more:
        resource = str(entries["smu2"].resource).replace("192.0.2.12", "192.0.2.13")
        entries["smu3"] = entries["smu2"].model_copy(update={"resource": resource})
        channels = {**wiring.channels, "smu3.smua": ("E",), "smu3.smub": ("F",)}
        rows = dict(wiring.channels)
        channels = {**rows, "smu3.smua": _row(rows, "E"), "smu3.smub": _row(rows, "F")}
        wiring = wiring.model_copy(update={"channels": channels})
    for node, name in enumerate(way.nodes, 1):
        options = entries[name].options.model_copy(update={"tsplink": node})
        entries[name] = entries[name].model_copy(update={"options": options})
    return bench.model_copy(
        update={"instruments": entries, "wiring": wiring, "programming": way.programming, "joined": way.joined}
    )


def _row(rows: dict[str, Any], letter: str) -> Any:
    """Return a matrix row as the wiring of a bench has it."""
    one = next(iter(rows.values()))
    return letter if isinstance(one, str) else type(one)([letter])


@contextmanager
def routes_of(die: ProbedDie) -> Iterator[Counter[str]]:
    """Yield the route changes of the operations that are rehearsed for `die` meanwhile, by stage."""
    routes: Counter[str] = Counter()
    count, plans = CountedDie._count, CountedDie._plans

    def counted(self: CountedDie, operation: Any, *more: Any) -> None:
        if len(operation):
            routes[self._plan.stage] += int(die._plan(operation)[0].moves.sum())
        count(self, operation, *more)

    def planned(self: CountedDie, plan: Any, scripts: Any) -> Any:
        relays = scripts.planner.of(plan).relays
        routes[self._plan.stage] += sum(a != b for a, b in zip(relays, [None, *relays], strict=False))
        return plans(self, plan, scripts)

    CountedDie._count, CountedDie._plans = counted, planned  # type: ignore[method-assign]
    try:
        yield routes
    finally:
        CountedDie._count, CountedDie._plans = count, plans  # type: ignore[method-assign]


def predicted(spec: Any, bench: Bench) -> tuple[float, int]:
    """Return the predicted time of the first die, contact checks included, s, and its changes of route."""
    subject = spec.subjects[0]
    spec = replace(spec, bench=bench)
    die, cells = predictor(spec, subject), expected_cells(spec, subject)
    stages = [stage.for_die(subject.name) for stage in spec.stages]
    assert isinstance(die, ProbedDie)
    with routes_of(die) as routes:
        plan = rehearse(subject.name, die, spec.limits, stages, check_time(die), cells=cells)
    times = {stage.name: stage.rehearsal()[1] for stage in stages}
    return sum(stage.time for stage in plan.stages), sum(n * times[name] for name, n in routes.items())


def figures(campaign: Path, path: Path) -> list[dict[str, Any]]:
    """Return a row for each way: hours, routes of a die, and what share of the time goes to what."""
    spec = composition.read(campaign, {}, None, path, None)
    prober = DIES * (spec.bench.timing.step + 2 * spec.bench.timing.contact) / 3600
    rows: list[dict[str, Any]] = []
    for way in WAYS:
        bench = bench_of(way, spec.bench)
        whole, routes = predicted(spec, bench)
        row: dict[str, Any] = {
            "way": way.name,
            "die": whole,
            "hours": DIES * whole / 3600 + prober,
            "routes": routes,
        }
        shares = {}
        for cause, changes in CAUSES.items():
            changed = {name: getattr(bench, name).model_copy(update=values) for name, values in changes.items()}
            shares[cause] = (whole - predicted(spec, bench.model_copy(update=changed))[0]) / whole
        shares["pulses, integration and the rest"] = 1 - sum(shares.values())
        row["shares"] = shares
        rows.append(row)
    return rows


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="one network on 3 x 4 cells")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        campaign = soak.small(folder) if given.small else CAMPAIGN
        rows = figures(campaign, folder / "bench.yaml" if given.small else BENCH)
    if given.json:
        print(json.dumps(rows))
        return
    print(f"| way | one die | {DIES} dies | route changes of a die |\n|--|--:|--:|--:|")
    for row in rows:
        print(f"| {row['way']} | {row['die']:.0f} s | {row['hours']:.2f} h | {row['routes']:,} |")
    print("\n| of the time | " + " | ".join(row["way"] for row in rows) + " |\n|--" + "|--:" * len(rows) + "|")
    for cause in rows[0]["shares"]:
        print(f"| {cause} | " + " | ".join(f"{100 * row['shares'][cause]:.1f} %" for row in rows) + " |")


if __name__ == "__main__":
    main()
