"""What stands around one session of a run: a place that lasts the night, locks, ballast, an awake computer, messages.

Everything here is about the computer and the people, nothing about dies: `night` puts it around a session, and the
engine asks it between dies. Whom to tell of what is read off the rows of the run's journal, so that nobody is told what
is not written down.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from labctl.batch.keep_awake import Clocks, awake
from labctl.batch.notifications import Notifier
from labctl.batch.preflight import Ballast, enough, keeps, preflight
from labctl.config.notify import Notify
from labctl.core.die_state import FINAL, State
from labctl.core.errors import LabError, StorageError
from labctl.core.units import Second
from labctl.storage.latch import refuse_latched
from labctl.storage.locks import HasInstruments, bench_lock, hold
from labctl.storage.run_log import Runlog

PATIENCE: Second = 20.0
"""How long the end of a run waits for its last messages."""


class Guard:
    """One session of a run in `folder`, which need not be there yet; refuses what would not last the night.

    Args:
        name: of the run.
        what: what is run, for whoever is refused meanwhile: "labctl run overnight.yaml".
        sizes: bytes that each die of this session is predicted to take.
        notify: whom to tell.
        accept_place: note a network file system or a synchronised folder instead of refusing it.

    Raises:
        BenchError: place, space, or the command to notify by; nothing has been made.
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
        if notify is not None:
            notify.require_command()
        self.ballast = Ballast(folder, sum(sizes.values()))
        self._notifier = Notifier(notify, {"run": name, "folder": str(folder)}, lambda event, text: self._note(text))
        self._clocks = Clocks()
        self._log: Runlog | None = None
        self._real = False
        self.full = ""
        """Why no die is to be begun any more, once the ballast was needed; "" while it was not."""

    @contextmanager
    def locked(self, bench: HasInstruments | None, file: Path | str = "BENCH") -> Iterator[None]:
        """Hold the instruments of a real bench while the block lasts; None for a twin and for simulated dies.

        Args:
            file: the bench file.

        Raises:
            BenchError: the bench is switched off, or somebody else has one of its instruments.
        """
        if bench is not None:
            refuse_latched(bench, file)
        with nullcontext() if bench is None else bench_lock(bench, self.what):
            self._real = bench is not None
            yield

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold the folder, which is there now, keep the computer awake and ballast on the disk while the block lasts.

        Raises:
            BenchError: somebody else carries out this run.
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
        """Write what there is to note into the run's journal, and from now on tell people what is written there."""
        self._log = log
        log.on_row, log.on_write_error = self._heard, self.relieve
        for text in self._remarks:
            self._note(text)
        self._remarks.clear()

    def look(self) -> None:
        """Note what happened to the clocks and to messages since the last look; costs microseconds."""
        jump = self._clocks.look()
        if jump is not None and self._log is not None:
            self._log.write("clock", gap=jump.gap, step=jump.step, text=jump.text)
        self._notifier.look()

    def enough(self, dies: Iterable[str]) -> None:
        """Refuse to begin `dies` together on a disk that may not take them. Raises StorageError."""
        enough(self.folder, sum(self._sizes.get(die, 0) for die in dies))

    def works(self) -> bool:
        """Return whether the disk keeps what is written to it and takes another die, when storing one has failed."""
        if self.full:
            return False
        try:
            keeps(self.folder, max(self._sizes.values(), default=0))
        except LabError:
            return False
        return True

    def relieve(self, error: StorageError) -> bool:
        """Free the ballast, so that what goes on can be brought to an end; return whether there was any."""
        self.full = self.full or str(error)
        return self.ballast.release() > 0

    def close(self) -> None:
        """Wait a while for messages; what becomes of them is the last that the run's journal is told."""
        self._notifier.close(PATIENCE)
        self._log = None

    def _note(self, text: str) -> None:
        if self._log is not None:
            self._log.write("alarm", die="", level="note", text=text)

    def _heard(self, kind: str, body: Mapping[str, Any]) -> None:
        """Tell people of a row of the run's journal."""
        if self._log is None:
            return
        state, send = self._log.state, self._notifier.send
        match kind:
            case "alarm" if body["level"] != "note":
                send("alarm", body["text"], die=body["die"])
            case "watchdog" | "clock":
                send("alarm", body["text"], die=body.get("die", ""))
            case "rule":
                send("alarm", f"the run stops: {body['text']}")
            case "state" if State(body["state"]) in FINAL | {State.ERROR}:
                said = body.get("bin") or body["state"]
                text = f"{said}{body['reason'] and ': '}{body['reason'].partition(chr(10))[0]}"
                send("die", text, die=body["die"], figures=dict(body.get("figures", {})))
            case "ended":
                good = sum(d.last is not None and d.last.hard == 1 for d in state.subjects)
                reason = f": {body['reason']}" if body.get("reason") else ""
                left = "" if not state.unfinished else f", {len(state.unfinished)} not finished"
                text = f"{good} of {len(state.subjects)} dies are good{left}; exit code {body['exit']}{reason}"
                send("stop" if state.unfinished else "end", text, exit_code=body["exit"])
