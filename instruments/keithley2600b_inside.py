"""What a Keithley 2600B does with cell programs: carries them out, tells how far it came, and reaches its TSP-Link.

A program is one script and one round trip. Its functions are sent before the first program after a channel was set up.
Nodes of the link become subordinates when a script reaches them,
[?] and take commands of the host again after an abort of their master, so `release` aborts; that costs a message only
where the host moves the relays itself.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from instruments.keithley2600b_program import (
    DRIVEN,
    FUNCTIONS,
    PROGRESS,
    attempts_in,
    compiled,
)
from instruments.keithley2600b_reads import compiled_reads
from instruments.keithley2600b_script import JOINED_COLD
from instruments.keithley2600b_steps import SLACK, StepCompiler
from instruments.transport import unexpected
from instruments.tsp import Refused, Tsp, number
from labctl.core.cell_program import CellAttempt, CellProgram, ReadProgram
from labctl.core.errors import InstrumentError, NotDriven
from labctl.core.source import ChannelSetup, ChannelState, Measure, Sample, Step
from labctl.core.transport import Wait
from labctl.core.units import Second, Volt


class InsidePrograms:
    """The part of the driver for cell programs."""

    name: str
    _tsp: Tsp
    _steps: StepCompiler
    _ready = False
    """The functions of cell programs are defined in the instrument."""
    _last: tuple[str, CellProgram] | None = None
    """Mark of the script of the last program, and the program."""

    @abstractmethod
    def _proved(self, printed: Sequence[str], levels: Mapping[str, Volt], steps: int) -> list[str]:
        """Return the texts of a script without what proves that it was carried out."""

    @abstractmethod
    def _samples(self, steps: Sequence[Step], printed: Sequence[str], before: Mapping[str, Volt]) -> list[Sample]:
        """Return the samples of steps that began at the levels `before`, V, by the texts that a script has printed."""

    @abstractmethod
    def emergency_off(self) -> dict[str, ChannelState]:
        """Abort, 0 V and off on every channel, on a fresh connection; then verify it."""

    def program(self, program: CellProgram) -> list[CellAttempt]:
        """Carry out `program` as one script; return its attempts, cell by cell.

        Raises:
            NotDriven: an output was off, or at another level than was set, or a step was not carried out.
            InstrumentError: a level or limit beyond the setup of its channel (nothing sent), or the script failed.
        """
        self._last = None
        script = compiled(program, self._steps)
        self._define()
        self._last = self._tsp.next_mark, program
        printed = self._carried_out(script.lines, script.seconds)
        try:
            made = attempts_in(printed[: len(printed) - len(self._steps.setups) - 1], program, self.name)
        except InstrumentError:
            self._steps.apertures.clear()
            raise
        used = {step.channel for kind in program.kinds for step in kind.cold if hasattr(step, "channel")}
        try:
            self._proved(printed, dict.fromkeys(sorted(used), 0.0), script.steps(program, made))
        except InstrumentError:  # nothing of it is accepted, and so nothing of what it has noted
            self._last = None
            self._steps.apertures.clear()
            raise
        return [attempt for attempt, _ in made]

    def _define(self) -> None:
        """Send the functions of programs, once after a channel was set up."""
        if not self._ready:
            for text in FUNCTIONS:
                self._tsp.set(text)
            self._ready = True

    def _carried_out(self, lines: Sequence[str], seconds: Second) -> list[str]:
        """Carry out statements as a script that ends cold and has some seconds by the instrument's timer.

        Raises:
            NotDriven: an output was off, or at another level than was set.
            InstrumentError: the script failed.
        """
        body = [f"mtj_run({number(seconds)},function(r)", *lines, "end)"]
        try:
            return self._tsp.script(body, wait=Wait.MEASURE, extra=seconds + SLACK)
        except BaseException as error:
            self._steps.apertures.clear()  # which of its apertures were set is unknown
            if isinstance(error, Refused) and DRIVEN in str(error):
                raise NotDriven(
                    f"{error}. Look at its interlock and output-enable line, and at its front panel"
                ) from error
            raise

    def read_routes(self, program: ReadProgram) -> list[Sample]:
        """Carry out reads on many routes as one script; see `ReadsRoutes`.

        Raises:
            NotDriven: an output was off, or at another level than was set, or a step was not carried out.
            InstrumentError: a level or limit beyond the setup of its channel (nothing sent), or the script failed.
        """
        self._last = None
        script = compiled_reads(program, self._steps)
        self._define()
        printed = self._carried_out(script.lines, script.seconds)
        used = {step.channel for route in program.routes for step in route.cold if hasattr(step, "channel")}
        printed = self._proved(printed, dict.fromkeys(sorted(used), 0.0), script.steps)
        steps: list[Step] = []
        for route in program.routes:
            steps += [*route.steps, *(step for step in route.cold if not isinstance(step, Measure))]
        return self._samples(steps, printed, {})

    def rescue(self) -> list[CellAttempt] | None:
        """Abort, 0 V, off, verified; then return how far the last program came, None if the instrument does not tell.

        Raises:
            InstrumentError: it is not verified off.
        """
        self.emergency_off()
        if self._last is None:
            return None
        (mark, program), self._last = self._last, None
        try:
            first, *texts = self._tsp.text(PROGRESS).split(";")
            if first != mark:
                return None
            ended = [text for text in texts if len(text.split()) in (2, 7) and "\t" not in text]
            return [attempt for attempt, _ in attempts_in(ended, program, self.name)]
        except InstrumentError:
            return None

    def join(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Drive channels of other nodes, which were set up so and are on at 0 V; see `Joins`."""
        for channel, setup in setups.items():
            self._steps.setups[channel] = setup
            self._steps.apertures.pop(channel, None)
        for text in (JOINED_COLD, self._steps.colds):
            self._tsp.set(text)

    def linked(self, node: int) -> str:
        """Return the model of a node of its TSP-Link, which is initialised if it is offline or does not know the node.

        A node that was switched off and on is reached again only after that.

        Raises:
            InstrumentError: it does not reach such a node.
        """
        state, model = self._node(node)
        if state != "online" or not model:
            self._tsp.set("mtj_k=tsplink.reset()")
            state, model = self._node(node)
        if state != "online" or not model:
            raise InstrumentError(
                f"{self.name}: its TSP-Link is {state} and has no node {node}; look at the cable, at the node numbers "
                "of the instruments (tsplink.node) and at 'tsplink' in the bench file"
            )
        self.release()
        return model

    def _node(self, node: int) -> tuple[str, str]:
        """Return the state of its TSP-Link, and the model of a node, "" if it reaches none of that number."""
        asked = f"tsplink.state,node[{node}] and node[{node}].model"
        reply = self._tsp.text(asked)
        state, _, model = reply.partition("\t")
        if state not in ("online", "offline"):
            raise unexpected(self.name, f"print({asked})", reply, "the state of TSP-Link and a model")
        return state, "" if model in ("nil", "false") else model

    def release(self) -> None:
        """Let the nodes of its TSP-Link take commands of the host again."""
        self._tsp.transport.query('abort\nprint("released")')
