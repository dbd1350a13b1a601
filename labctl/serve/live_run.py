"""One run as the page shows it: parts of HTML, made anew where something has changed and there is time for it."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labctl.core.errors import LabError
from labctl.report.formulas import formulas_of
from labctl.report.live_state import Now, Watcher
from labctl.report.pace import Pace
from labctl.report.report_data import Facts, facts_of
from labctl.report.wafer_maps_svg import Map
from labctl.serve import run_parts
from labctl.serve.die_pages import DiePages
from labctl.serve.measurements import Measurements, identity_of
from labctl.serve.run_list import stamps_of
from labctl.storage.event_rows import RunRow
from labctl.storage.results import DieData

SHARE = 0.01
"""Of one processor, that looking at a run may take, the most; what a browser asks for takes less than half of it."""
LEAST = 0.5
"""Shortest time between two looks, s."""
CALM = 3.0
"""The dies under way are looked at after so many s while the run's own journal has no new row."""
_CELLS = 0.001
"""Of one processor, that reading dies and drawing what is in them may take while somebody carries the run out."""
_ONE_DIE, _SOME_DIES = 0.0, 0.1
"""Processor time after which no other die is read in one look, s: of a run that goes on, and of one at rest."""
_AT_REST = 0.2
"""The same of a run on which nobody works."""
_ENDING = 15.0
"""A run that has ended is still busy with its files and its report for so many s."""
_SETTLED = 10.0
"""The dies of such a run are looked for again after so many s once all were read: a file may be mended, or damaged."""

_DIE = 0.01
"""Of one processor, that drawing dies anew may take which somebody has opened and which have changed."""


@dataclass(frozen=True)
class Look:
    """A run at one moment.

    Args:
        parts: by name, (tag, HTML); the tag is another whenever the HTML is.
        alive: somebody carries the run out.
    """

    parts: Mapping[str, tuple[str, str]]
    alive: bool
    utc: float = field(default_factory=time.time)

    def news(self, tags: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Return the parts of which somebody has not these `tags`."""
        return {name: part for name, part in self.parts.items() if tags.get(name) != part[0]}


class _Opened:
    """A run that could be read, with what is kept of it between looks."""

    def __init__(self, folder: Path) -> None:
        self.watcher = Watcher(folder)
        self.measurements = Measurements(formulas_of(self.watcher.state.meta))
        self.facts: Facts | None = None
        self.drawn_for: tuple[object, ...] = ()
        self.figures: dict[str, Mapping[str, float]] = {}
        self.maps: dict[str, Map] = {}
        self.parts: dict[str, str] = {}
        self.alive, self.at_rest, self.settled = Pace(_CELLS, LEAST), Pace(_AT_REST), Pace(_AT_REST, _SETTLED)
        self.dies = DiePages(Pace(_DIE, LEAST))


class LiveRun:
    """The run in `folder`, for any number of people who look at it: they share what was read.

    Args:
        paces: of looking at a run whose journal has a new row, and at one whose journal has none.
    """

    def __init__(
        self,
        folder: Path,
        paces: Callable[[], tuple[Pace, Pace]] = lambda: (Pace(SHARE, LEAST), Pace(SHARE, CALM)),
    ) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._pace, self._calm = paces()
        self._stamps: list[tuple[int, int]] = []
        self._opened: _Opened | None = None
        self._last: Look | None = None

    def look(self) -> Look:
        """Return the run as it is now, or as it was a moment ago where looking again would cost too much.

        A run that cannot be read is a look too, which says why.
        """
        last, due = self._last, self._due()
        if last is not None and not due:
            return last
        if not self._lock.acquire(blocking=last is None):  # somebody else looks at this moment
            assert last is not None
            return last
        try:
            if self._last is None or self._due():
                self._stamps = stamps_of(self.folder)
                self._last = self._look()
            return self._last
        finally:
            self._lock.release()

    def _due(self) -> bool:
        return self._pace.due and (self._calm.due or stamps_of(self.folder) != self._stamps)

    def die(self, name: str) -> str | None:
        """Return what is known of one die as HTML, None if the run has no such die or cannot be read.

        Of a die that has changed it may be what was known a moment ago, where drawing it again would cost too much.
        """
        self.look()
        with self._lock:
            opened = self._opened
            if opened is None or opened.facts is None:
                return None
            facts = opened.facts
            die = next((die for die in (*facts.dies, *facts.golden) if die.name == name), None)
            if die is None:
                return None
            state = opened.watcher.state.dies[name]
            data = DieData.of_run(self.folder, name, state.folder, state.last.sha256 if state.last else "")
            return opened.dies.html(
                name,
                (identity_of(data, state), opened.measurements.read_as(name), die, facts.bins),
                lambda: run_parts.die(die, facts, self.folder, opened.measurements.counts(name)),
            )

    def _look(self) -> Look:
        try:
            with self._calm.work(), self._pace.work():
                opened = self._opened = self._opened or _Opened(self.folder)
                now = opened.watcher.snapshot()
                self._draw_maps(opened, now)
            self._draw_cells(opened, now)
        except LabError as error:
            self._opened = None  # it may be mended meanwhile
            return Look(tagged({"head": run_parts.unreadable(self.folder, error)}), False)
        assert opened.facts is not None
        return Look(tagged({**run_parts.of_now(now, opened.facts), **opened.parts}), bool(now.alive), now.utc)

    def _draw_maps(self, opened: _Opened, now: Now) -> None:
        """Draw the maps at once for another state of the run."""
        drawn_for = opened.watcher.state.seq, bool(now.alive)
        if opened.facts is None or opened.drawn_for != drawn_for:
            opened.measurements.begin(None, counts=False)
            opened.facts, opened.drawn_for = self._facts(opened, ()), drawn_for
            figures = {die.name: die.figures for die in opened.facts.dies}
            if figures != opened.figures:
                opened.figures, opened.maps = figures, run_parts.drawn_maps(opened.facts)
            opened.parts = {**opened.parts, "maps": run_parts.maps(opened.facts, opened.maps)}

    def _draw_cells(self, opened: _Opened, now: Now) -> None:
        """Draw what is in the dies, if there is time to read them."""
        measurements = opened.measurements
        rests = not now.alive and now.utc - now.committed > _ENDING
        pace = opened.alive if not rests else opened.at_rest if measurements.waiting else opened.settled
        if not pace.due:
            return
        with pace.work():
            measurements.begin(_SOME_DIES if rests else _ONE_DIE, counts=True)
            opened.facts = self._facts(opened, opened.watcher.rows)
            opened.figures = {die.name: die.figures for die in opened.facts.dies}
            opened.maps = run_parts.drawn_maps(opened.facts)
            opened.parts = run_parts.of_facts(opened.facts, opened.maps, measurements.waiting)

    def _facts(self, opened: _Opened, rows: Sequence[RunRow]) -> Facts:
        watcher = opened.watcher
        return facts_of(self.folder, watcher.state, rows, watcher.sizes, opened.measurements.of)


def tag_of(html: str) -> str:
    """Return what is another whenever `html` is."""
    return hashlib.blake2b(html.encode("utf-8", "replace"), digest_size=6).hexdigest()


def tagged(parts: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return parts with their tags."""
    return {name: (tag_of(html), html) for name, html in parts.items()}
