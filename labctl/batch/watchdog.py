"""A bench, seen from the process that does not touch it: the worker that owns it is started, watched, and survived.

The worker leases every operation. When it dies, at once, and when it outlives a lease, after it was ended, this process
opens the bench itself, makes it safe, and only then says what happened. It never touches a bench whose worker lives.
"""

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from instruments.emergency import Safed, isolate, make_safe
from instruments.manual_prober import Ask
from labctl.batch.bench_process import HURRY, BenchOrder, own
from labctl.batch.executors import Lost
from labctl.batch.requests import GoFile
from labctl.core.die_state import State
from labctl.core.errors import BenchError, InstrumentError, LabError, LeftUnverified, SwitchedOff
from labctl.core.procedure import Procedure
from labctl.core.units import Second
from labctl.execution.die_job import DieResult, Job, Notify
from labctl.station.bench_setup import Station
from labctl.terminal.signals import born_deaf

OPENING: Second = 300.0
"""Longest time until a bench is open; proving a map at its fiducials is part of that."""
BEGINNING: Second = 60.0
"""Longest time between an order and the first lease."""
LEAVING: Second = 60.0
"""Longest time until a bench is left."""
HURRYING: Second = 10.0
"""Longest time from a second ^C until the worker is ended."""
ERRORS: dict[int, type[LabError]] = {2: BenchError, 4: SwitchedOff, 6: LeftUnverified}


class BenchCrew:
    """One die at a time on a bench, by a worker process that owns it.

    Args:
        what: what is being run, for whoever is refused the bench.
        expected: who the instruments have to be, None if anybody will do; from the first opening on they stay the same.
        leniency: by what the worker's leases are multiplied.
    """

    width = 1

    def __init__(
        self,
        station: Station,
        procedures: Sequence[Procedure],
        going: GoFile,
        ask: Ask,
        *,
        what: str = "labctl",
        expected: dict[str, str] | None = None,
        leniency: float = 1.0,
    ) -> None:
        self._station, self._going, self._ask, self._leniency = station, going, ask, leniency
        self.twin = station.twin() if station.sim == "tcp" else None
        served = None
        if self.twin is not None and self.twin.server is not None:
            served = {one.name: one.resource for one in self.twin.server.served}
        if station.sim != "bytes":
            import instruments.visa  # noqa: F401 - a second too late when somebody has just died
        self._order = going.path.with_name("bench.pickle")
        self._order.write_bytes(pickle.dumps(BenchOrder(station, tuple(procedures), going, served, what)))
        self.tell: Notify = lambda die, what, detail: None
        self.say: Callable[..., None] = lambda kind, **body: None
        """Writes a row into the run's journal."""
        self.ledger: tuple[Any, float] | None = None
        self.identities: dict[str, str] = {}
        self._expected = expected
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._line: Connection[Any, Any] | None = None
        self._deadline = float("inf")
        self._job: Job | None = None
        self._ended: list[DieResult | Lost] = []
        self._begun: set[str] = set()
        self._is_open = False
        self._failed: LabError | None = None

    # the worker's life

    def open(self) -> None:
        """Have a worker whose bench is open.

        Raises:
            LabError: it cannot be opened, or was not left safe; the worker is gone then.
        """
        if self._process is not None:
            return
        self._is_open, self._failed = False, None
        with born_deaf():
            self._line, theirs = self._context.Pipe()
            self._process = self._context.Process(target=own, args=(theirs, self._order), name="bench")
            self._process.start()
        theirs.close()
        self._lease(OPENING)
        while not self._is_open and self._process is not None:
            self._listen(1.0)
        if self._process is None:
            failed: LabError | None = self._failed
            raise failed or InstrumentError("the process that owns the bench died before it was open")
        others = [name for name, who in (self._expected or {}).items() if self.identities.get(name) != who]
        if others:
            self.close()
            name = others[0]
            raise BenchError(
                f"{name} says it is '{self.identities.get(name, '')}', and the run was begun with "
                f"'{(self._expected or {})[name]}'; if that is what you want, say --accept-changes"
            )
        self._expected = self.identities

    def close(self) -> None:
        """Have the worker leave the bench safe and end; make it safe here if it does not.

        Raises:
            LeftUnverified: outputs may be live.
        """
        self._job = None
        if self._process is not None and self._line is not None:
            with suppress(OSError):
                self._line.send(None)
            self._lease(LEAVING)
            while self._process is not None:
                self._listen(1.0)
        failed, self._failed = self._failed, None
        if failed is not None and failed.exit_code == 6:
            raise failed

    def shut(self) -> None:
        """Be done with the twin, if this process serves it."""
        if self.twin is not None:
            self.ledger = self.twin.ledger, self.twin.world.now
            self.twin.close()

    # a crew

    def heard_by(self, tell: Notify) -> "BenchCrew":
        """Have what the worker says told to `tell`."""
        self.tell = tell
        return self

    def begin(self, job: Job) -> None:
        """Order a die."""
        try:
            self.open()
        except LabError as error:
            self._failed = None
            self._ended.append(Lost(job.die, str(error), error.exit_code))
            return
        assert self._line is not None
        # what a twin's die has been through is forgotten with the twin: this process's is older than the worker
        anew = self._station.sim is not None and (self.twin is None or job.name not in self._begun)
        self._begun.add(job.name)
        self._job = job
        self._lease(BEGINNING)
        with suppress(OSError):  # its death is noticed next
            self._line.send((job, anew))

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return what has ended; hear what the worker says, and notice when it says nothing more."""
        end = time.monotonic() + seconds
        while not self._ended and (left := end - time.monotonic()) > 0:
            if self._process is None:
                break
            self._listen(left)
        ended, self._ended = self._ended, []
        return ended

    def hurry(self) -> None:
        """Have the worker interrupt its die; one that does not end soon is ended."""
        if self._process is None or self._job is None:
            return
        self._deadline = min(self._deadline, time.monotonic() + (0.0 if HURRY is None else HURRYING))
        if HURRY is not None:
            with suppress(OSError):
                os.kill(self._process.pid, HURRY)

    # listening

    def _lease(self, seconds: Second) -> None:
        self._deadline = time.monotonic() + seconds * self._leniency

    def _listen(self, seconds: float) -> None:
        """Take one message, or notice that the worker is dead or hangs."""
        assert self._line is not None
        left = self._deadline - time.monotonic()
        ready = wait([self._line, self._process.sentinel], max(0.0, min(seconds, left)))
        if self._line in ready:
            try:
                self._take(self._line.recv())
            except (EOFError, OSError):
                self._bury("died", "the process that owns the bench died")
        elif ready:
            self._bury("died", "the process that owns the bench died")
        elif time.monotonic() >= self._deadline:
            self._process.kill()
            self._bury("hung", "the process that owns the bench did not answer in time and was ended")

    def _take(self, message: tuple[Any, ...]) -> None:
        what, *said = message
        match what:
            case "call":
                assert self._line is not None
                self._line.send(self._answer(said[0], said[1]))
            case "tell":
                die, kind, detail = said
                if kind == "lease":
                    self._lease(detail)
                else:
                    self.tell(die, kind, detail)
            case "open":
                self._is_open, self.identities = True, said[0]
                self._deadline = float("inf")
            case "result":
                self._result(said[0])
            case "ledger":
                self.ledger = said[0], said[1]
            case "failed":
                text, code = said
                self._failed = ERRORS.get(code, InstrumentError)(text)
                self._gone()
                if code == 6:
                    self._failed = self._second_way(text)
            case "left":
                self._gone()

    def _answer(self, what: str, arguments: tuple[Any, ...]) -> Any:
        """Do what the worker cannot do itself, and return what came of it."""
        if what == "ask":
            self._deadline = float("inf")
            answer = self._ask(*arguments)
            self._lease(OPENING)
            return answer
        return getattr(self.twin, what)(*arguments)

    def _result(self, result: DieResult) -> None:
        self._job, self._deadline = None, float("inf")
        lost = result.state is State.INTERRUPTED and result.outcome.exit_code in (3, 6)
        if not lost:
            self._ended.append(result)
            return
        # the link is lost or outputs are not verified off: the worker leaves as well as it can, another one begins anew
        try:
            self.close()
        except LabError as error:
            self._ended.append(Lost(result.die, str(error), 6))
            return
        self._ended.append(Lost(result.die, result.outcome.reason, 3))

    # after the worker

    def _gone(self) -> None:
        """Let go of a worker that has ended or is about to."""
        process, self._process = self._process, None
        process.join(LEAVING)
        if process.is_alive():
            process.kill()
            process.join()
        if self._line is not None:
            self._line.close()
        process.close()

    def _bury(self, what: str, text: str) -> None:
        """Make safe the bench of a worker that is dead, then say so; safety comes first."""
        start = time.monotonic()
        self._process.join()
        safed = self._make_safe()
        took = time.monotonic() - start
        job, self._job = self._job, None
        code = self._process.exitcode
        self._gone()
        die = "" if job is None else job.die
        self.say("watchdog", what=what, die=die, text=f"{text} (exit code {code})", seconds=took)
        self._say_safe(safed, die, took)
        if isinstance(safed, str):
            self._failed = LeftUnverified(safed)
        if job is not None:
            lost = Lost(job.die, safed, 6, told=True) if isinstance(safed, str) else Lost(job.die, text, 0, told=True)
            self._ended.append(lost)

    def _second_way(self, text: str) -> LabError | None:
        """Try from here to make safe what the worker could not leave safe; return what is still wrong."""
        start = time.monotonic()
        safed = self._make_safe()
        self._say_safe(safed, "", time.monotonic() - start, f"after: {text}; ")
        return LeftUnverified(safed) if isinstance(safed, str) else None

    def _say_safe(self, safed: Safed | str, die: str, seconds: Second, before: str = "") -> None:
        """Write into the run's journal what was verified, or what may be live."""
        what, text = ("unsafe", safed) if isinstance(safed, str) else ("safe", before + safed.text)
        self.say("watchdog", what=what, die=die, text=text, seconds=seconds)

    def _make_safe(self) -> Safed | str:
        """Make the bench safe; return what was verified, or what may be live if that could not be."""
        if self._station.sim == "bytes":
            return Safed({"the twin": "ended with its worker"})
        connect = None if self.twin is None else self.twin.connect
        try:
            return make_safe(self._station.bench, connect=connect)
        except LabError as error:
            isolated = isolate(self._station.bench, connect=connect)
            return f"{error}; {isolated}" if isolated else str(error)
