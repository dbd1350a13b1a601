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
    Compiled,
    attempts_in,
    compiled,
)
from instruments.keithley2600b_steps import SLACK, StepCompiler
from instruments.transport import unexpected
from instruments.tsp import Refused, Tsp, number
from labctl.core.cell_program import CellAttempt, CellProgram
from labctl.core.errors import InstrumentError, NotDriven
from labctl.core.source import ChannelState
from labctl.core.transport import Wait
from labctl.core.units import Volt


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
        if not self._ready:
            for text in FUNCTIONS:
                self._tsp.set(text)
            self._ready = True
        self._last = self._tsp.next_mark, program
        try:
            printed = self._tsp.script(self._body(script), wait=Wait.MEASURE, extra=script.seconds + SLACK)
        except Refused as error:
            self._steps.apertures.clear()
            if DRIVEN in str(error):
                raise NotDriven(
                    f"{error}. Look at its interlock and output-enable line, and at its front panel"
                ) from error
            raise
        except BaseException:
            self._steps.apertures.clear()
            raise
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

    def _body(self, script: Compiled) -> list[str]:
        """Return the statements of a script that ends cold."""
        return [f"mtj_run({number(script.seconds)},function(r)", *script.lines, "end)"]
