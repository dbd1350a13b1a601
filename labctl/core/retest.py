"""What a run that measures dies of an earlier run again knows of that run; it stands in ``run.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from labctl.core.errors import StorageError


class GivenBin(NamedTuple):
    """The bin that a die had: soft and hard; ("", 0) of one that had none."""

    name: str
    hard: int


@dataclass(frozen=True)
class Retest:
    """The run whose dies are measured again, and what became of all its dies; nothing of it is read later.

    Args:
        run: its folder, as it was given.
        run_id: what identifies it wherever its folder lies.
        bins: soft bins of the dies that are measured again.
        first: the bin of every die of the wafer after its first pass, whichever run that was.
        before: its bin before this run. The same where the earlier run was no retest.
        rehearsal: faults were injected into an earlier run, so that its bins are no measurement.
    """

    run: str
    run_id: str
    bins: tuple[str, ...]
    first: Mapping[str, GivenBin]
    before: Mapping[str, GivenBin]
    rehearsal: bool = False

    @property
    def dies(self) -> tuple[str, ...]:
        """The dies that are measured again."""
        return tuple(name for name, given in self.before.items() if given.name in self.bins)

    def after(self, now: Mapping[str, GivenBin]) -> dict[str, GivenBin]:
        """Return the bin of every die: that of this run where it gave one, else that of before.

        Args:
            now: the dies of this run that have a bin.
        """
        return {name: now.get(name, given) for name, given in self.before.items()}

    @property
    def text(self) -> str:
        """It in words."""
        faults = ", a rehearsal with injected faults and no measurement" if self.rehearsal else ""
        return f"retest of {self.run}{faults}, bin {', '.join(self.bins)}"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "run": self.run,
            "run_id": self.run_id,
            "bins": list(self.bins),
            "rehearsal": self.rehearsal,
            "first": {name: list(given) for name, given in self.first.items()},
            "before": {name: list(given) for name, given in self.before.items()},
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any] | None) -> "Retest | None":
        """Return what `plain` made; None of a run that is no retest, StorageError if it cannot be read.

        >>> one = Retest("runs/a", "4f", ("weak",), {"D1": GivenBin("weak", 4)}, {"D1": GivenBin("weak", 4)})
        >>> Retest.of(one.plain()) == one, Retest.of(None)
        (True, None)
        """
        if plain is None:
            return None
        try:
            first, before = (
                {str(name): GivenBin(str(soft), int(hard)) for name, (soft, hard) in plain[key].items()}
                for key in ("first", "before")
            )
            bins, rehearsal = tuple(map(str, plain["bins"])), bool(plain["rehearsal"])
            return cls(str(plain["run"]), str(plain["run_id"]), bins, first, before, rehearsal)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"what this run says of the run that it retests cannot be read: {error}") from error
