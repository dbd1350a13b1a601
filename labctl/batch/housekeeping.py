"""The housekeeping of one session of a run: a safe folder, locks, ballast, an awake computer, messages to people.

It concerns the computer and the people, not the dies: `session` puts it around a session, and the scheduler calls it
between dies. Messages follow from the rows of the run's journal, so that nothing is sent that is not logged.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from labctl.batch.keep_awake import Clocks, awake
from labctl.batch.notifications import Notifier
from labctl.batch.preflight import Ballast, enough, keeps, preflight
from labctl.batch.receivers import receivers
from labctl.config.bins import is_good, is_measured, tally
from labctl.config.notify import Notify
from labctl.core.die_state import FINAL, State
from labctl.core.errors import LabError, StorageError
from labctl.core.events import Alarm, ClockJumped, DieMoved, Level, RuleBroken, RunEnded, RunEvent, WatchdogActed
from labctl.core.units import Second
from labctl.station.bench_guard import BenchGuard
from labctl.storage.bench_locks import HasInstruments, bench_lock
from labctl.storage.latch import refuse_latched
from labctl.storage.locks import hold
from labctl.storage.run_log import Runlog

PATIENCE: Second = 20.0
"""Longest wait for the last messages at the end of a run."""


class Housekeeping:
    """Computer, disk and people around one session of a run; refuses a folder that is not safe.

    Args:
        folder: of the run; it need not exist yet.
        name: of the run.
        what: the command line, such as "labctl run overnight.yaml"; shown to all who are refused meanwhile.
        sizes: predicted bytes of each die of this session.
        notify: receivers of messages.
        accept_place: remark on a network file system or a synchronised folder instead of refusing it.

    Raises:
        BenchError: wrong place, too little space, or nobody to notify; nothing has been made.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        what: str,
        sizes: Mapping[str, int],
        *,
        notify: Notify | None = None,
        accept_place: bool = False,
    ) -> None:
        self.folder, self.what, self._sizes = folder, what, dict(sizes)
        self._remarks = list(preflight(folder, sum(sizes.values()), accept_place=accept_place))
        named = receivers(notify)
        self.ballast = Ballast(folder, sum(sizes.values()))
        about = {"run": name, "folder": str(folder)}
        self._notifier = Notifier(named, notify.on if notify else (), about, lambda event, text: self._remark(text))
        self._clocks = Clocks()
        self._log: Runlog | None = None
        self._real = False
        self.bench_guard: BenchGuard | None = None
        """The process that makes a real bench safe when this one and its worker are gone; None without a bench."""
        self.full = ""
        """Why no die is begun any more, after the ballast was needed; "" before."""

    @contextmanager
    def locked(self, bench: HasInstruments | None, file: Path | str = "BENCH") -> Iterator[None]:
        """Hold the instruments of a real bench while the block lasts; None for a twin and for simulated dies.

        Args:
            file: the bench file.

        Raises:
            BenchError: the bench is switched off, or another process holds one of its instruments.
        """
        if bench is not None:
            refuse_latched(bench, file)
        with nullcontext() if bench is None else bench_lock(bench, self.what):
            self._real = bench is not None
            yield

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold the folder, which exists now, keep the computer awake and ballast on the disk while the block lasts.

        Raises:
            BenchError: another process carries out this run.
            StorageError: there is no space for the ballast.
        """
        with hold(self.folder, self.what), awake(self.what) as granted:
            if not granted and self._real:
                self._remarks.append("this computer cannot be kept from going to sleep: see to it that it does not")
            self.ballast.fill()
            try:
                yield
            finally:
                self.ballast.release()

    def watch(self, log: Runlog) -> None:
        """Write the remarks into the run's journal, and from now on send messages about its rows."""
        self._log = log
        log.on_row, log.on_write_error = self._send, self.relieve
        for text in self._remarks:
            self._remark(text)
        self._remarks.clear()

    def check(self) -> None:
        """Log clock jumps, a guard of the bench that died and undelivered messages since the last check.

        Takes microseconds, if nothing has happened.
        """
        jump = self._clocks.check()
        if jump is not None and self._log is not None:
            self._log.write(ClockJumped(gap=jump.gap, step=jump.step, text=jump.text))
        if self.bench_guard is not None:
            self.bench_guard.check()
        self._notifier.report_given_up()

    def enough(self, dies: Iterable[str]) -> None:
        """Refuse to begin `dies` together on a disk that may not take them. Raises StorageError."""
        enough(self.folder, sum(self._sizes.get(die, 0) for die in dies))

    def works(self) -> bool:
        """Return whether the disk keeps what is written to it and takes another die, after storing a die has failed."""
        if self.full:
            return False
        try:
            keeps(self.folder, max(self._sizes.values(), default=0))
        except LabError:
            return False
        return True

    def relieve(self, error: StorageError) -> bool:
        """Free the ballast, so that dies under way can be brought to an end; return whether there was any."""
        self.full = self.full or str(error)
        return self.ballast.release() > 0

    def close(self) -> None:
        """Wait for messages for at most `PATIENCE` s; those given up are the last rows that it logs."""
        self._notifier.close(PATIENCE)
        self._log = None

    def _remark(self, text: str) -> None:
        if self._log is not None:
            self._log.write(Alarm(level=Level.NOTE, text=text))

    def _send(self, event: RunEvent) -> None:
        """Send the message that follows from an event of the run, if any."""
        if self._log is None:
            return
        state, send = self._log.state, self._notifier.send
        match event:
            case Alarm() if event.level is not Level.NOTE:
                send("alarm", event.text, die=event.die)
            case WatchdogActed():
                send("alarm", event.text, die=event.die)
            case ClockJumped():
                send("alarm", event.text)
            case RuleBroken():
                send("alarm", f"the run stops: {event.text}")
            case DieMoved() if event.state in FINAL | {State.ERROR}:
                text = f"{event.bin or event.state}{event.reason and ': '}{event.reason.partition(chr(10))[0]}"
                send("die", text, die=event.die, figures=dict(event.figures))
            case RunEnded():
                hard = [d.last.hard for d in state.subjects if d.last is not None]
                rules = state.meta.get("bins") or ()
                dies = tally(sum(map(is_good, hard)), sum(map(is_measured, hard)), len(state.subjects), rules)
                reason = f": {event.reason}" if event.reason else ""
                left = "" if not state.unfinished else f", {len(state.unfinished)} not finished"
                text = f"{dies}{left}; exit code {event.exit_code}{reason}"
                send("stop" if state.unfinished else "end", text, exit_code=event.exit_code)
