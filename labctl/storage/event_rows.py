"""Rows of events of a journal, or of the sealed file that was made of one, as the classes of `labctl.core.events`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from labctl.core.errors import StorageError
from labctl.core.events import DieEnded, DieEvent, Event, RunEvent, UnknownEvent, parse
from labctl.core.exit_codes import Status
from labctl.storage.journal_reader import Entry, Stamp

Family = TypeVar("Family", bound=Event)


@dataclass(frozen=True)
class EventRow(Generic[Family]):
    """One event and its row: `seq` is its number, `stage` the stage of a die that it belongs to, "" if to none."""

    seq: int
    stage: str
    stamp: Stamp
    event: Family | UnknownEvent


RunRow = EventRow[RunEvent]
DieRow = EventRow[DieEvent]


def event_rows(family: type[Family], entries: Iterable[Entry]) -> Iterator[EventRow[Family]]:
    """Yield the rows of events of one family.

    Raises:
        StorageError: a row does not hold the fields of its event.
    """
    for entry in entries:
        try:
            event = parse(family, entry.kind, entry.body)
        except StorageError as error:
            raise StorageError(f"row {entry.seq} of the journal: {error}") from error
        yield EventRow(entry.seq, entry.stage, entry.stamp, event)


def is_void(rows: Sequence[DieRow]) -> bool:
    """Return whether the work on a die failed and no figure was kept, which is how a void try ends."""
    last = rows[-1].event if rows else None
    return isinstance(last, DieEnded) and last.outcome is Status.FAIL and last.figures == {}
