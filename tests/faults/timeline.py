"""What happened when on the bench of the harness: outputs that went on and off, errors that arose, and who waited.

Times are those of the twin's clock, in s. Two things at one time are told apart by their order.
"""

import re
import threading
from dataclasses import dataclass

from labctl.core.errors import LinkTimeoutError

SOON = 1.0
"""Longest time from the detection of a fault until outputs are off, s, of an instrument whose link answers."""


@dataclass(frozen=True)
class Moment:
    """A time, and how many outputs had turned, and errors had arisen, before."""

    time: float
    turns: int
    errors: int


def names(text, name):
    """Return whether a text names an instrument."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


class Timeline:
    """Everything that happened, in order.

    Args:
        now: returns the time on the twin's clock.
    """

    def __init__(self, now):
        self._now = now
        self.turns = []
        """Time, channel, and whether its output went on or off."""
        self.errors = []
        """Moment, text, and whether it was the link that did not answer."""
        self.detections = []
        """Moments at which the suite knew that something was wrong."""
        self._waits, self._on = [], set()

    def moment(self):
        """Return the present."""
        return Moment(self._now(), len(self.turns), len(self.errors))

    def outputs(self, on):
        """Note which outputs are on now."""
        on = set(on)
        self.turns += [(self._now(), channel, channel in on) for channel in sorted(on ^ self._on)]
        self._on = on

    def waited(self, seconds):
        """Note that the present thread has waited."""
        self._waits.append((self._now(), threading.current_thread().name, seconds))

    def arose(self, error):
        """Note an error that arises, and the moment in it."""
        error.moment = self.moment()
        lost = isinstance(error, LinkTimeoutError) or "is gone" in str(error)
        self.errors.append((error.moment, str(error), lost))

    def first_error(self, since):
        """Return the moment of the first error that arose after another moment."""
        return self.errors[since.errors][0]

    def detect(self, moment=None):
        """Note that something is known to be wrong since a moment, now if there is none."""
        self.detections.append(moment or self.moment())

    def caught(self, error):
        """Note the first error of those that led to one."""
        moments, met = [], set()
        while error is not None and id(error) not in met:  # what a stranger's object raises may be its own cause
            met.add(id(error))
            moments.append(getattr(error, "moment", None))
            error = error.__cause__ or error.__context__
        self.detect(next((moment for moment in reversed(moments) if moment), None))

    def late(self, since, patience):
        """Return which outputs went off later after a detection than they may, in words; those still on are not meant.

        Sources are switched off in parallel, so what one waits for is no time of another one. A link that does not
        answer has the patience of its instrument.

        Args:
            since: number of the first detection that counts.
            patience: by the name of the instrument, s.
        """
        late = {}
        for begin in self.detections[since:]:
            on = set()
            for _, channel, is_on in self.turns[: begin.turns]:
                on = on | {channel} if is_on else on - {channel}
            for channel in sorted(on):
                name = channel.partition(".")[0]
                end = next((time for time, one, _ in self.turns[begin.turns :] if one == channel), None)
                if end is None:
                    continue
                others = sum(
                    seconds for time, who, seconds in self._waits
                    if begin.time < time <= end and who not in ("MainThread", name)
                )  # fmt: skip
                lost = any(lost and names(text, name) for _, text, lost in self.errors[begin.errors :])
                seconds, most = end - begin.time - others, SOON + (patience[name] if lost else 0.0)
                if seconds > most:
                    late[channel] = f"{channel} was off {seconds:.2f} s after a fault was detected, {most:g} s allowed"
        return list(late.values())
