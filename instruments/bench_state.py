"""What is known of a bench while it is used, and what may follow: the only place where that changes.

Pure: nothing is sent from here. Whoever moves relays, needles or levels enters the transition first; one that the state
does not permit raises, and nothing has been sent. A transition that breaks off leaves a state from which only making
safe leads on, or one that claims no more than what is still verified. A state is what was last read back, so it ages:
what may harm a die or a person is read again at each transition (outputs and relays before needles move or outputs go
on, the latch before anything is energised).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum, auto

from instruments.connections import Relay
from labctl.core.errors import ContactError, InstrumentError
from labctl.core.units import Volt


class IllegalTransition(InstrumentError):
    """What the state of the bench does not permit was asked for; nothing was sent."""


class State(StrEnum):
    """What is known of outputs and relays."""

    UNKNOWN = auto()
    """Nothing was read back yet, or it is not so any more."""
    FAULT = auto()
    """Something is under way, or broke off; only making safe leads on."""
    OFF = auto()
    """Every output verified off; relays not known, or moving."""
    COLD = auto()
    """Every output verified off, every relay verified open."""
    GROUNDED = auto()
    """Every output verified off, every pad verified on ground."""
    ROUTING = auto()
    """Outputs on and verified at 0 V; relays not known, or moving."""
    ROUTED = auto()
    """Outputs on and verified at 0 V; relays as they were read back."""
    ENERGISED = auto()
    """Outputs on, levels may stand; relays as they were read back."""


class Contact(StrEnum):
    """What is known of the needles, beside the state."""

    UNKNOWN = auto()
    """Nobody has asked since they may have moved."""
    UP = auto()
    """Not on the pads."""
    DOWN = auto()
    """On the pads, which may have seen no voltage since."""
    BIASED = auto()
    """On the pads, which have seen the bounded first voltage."""


OUTPUTS_OFF = frozenset({State.OFF, State.COLD, State.GROUNDED})
"""States in which every output is verified off."""
RELAYS_MOVE = frozenset({State.OFF, State.ROUTING})
"""States in which relays may move: sources were verified off or at 0 V, and nothing was set since."""
IN_USE = frozenset({State.ROUTED, State.ENERGISED})
"""States in which outputs are on and levels may be set."""


class BenchState:
    """The state of one bench, electrical and of its needles; one object for as long as it is connected.

    Args:
        landing: relays that are closed while needles move; empty if they land on open pads.
        first_voltage: most that a line may differ from another one before needles are `BIASED`.
        permit: raises when nothing may be energised: reads the latch, which others set.
    """

    def __init__(
        self, landing: Iterable[Relay] = (), first_voltage: Volt = 0.0, permit: Callable[[], None] = lambda: None
    ) -> None:
        self._landing, self._first_voltage, self._permit = frozenset(landing), first_voltage, permit
        self._state, self._contact = State.UNKNOWN, Contact.UNKNOWN
        self._closed: frozenset[Relay] | None = None
        self._reason = ""

    def __str__(self) -> str:
        why = f": {self._reason}" if self._state is State.FAULT else ""
        return f"{self._state}{why}, needles {self._contact}"

    @property
    def state(self) -> State:
        """What is known of outputs and relays."""
        return self._state

    @property
    def contact(self) -> Contact:
        """What is known of the needles."""
        return self._contact

    @property
    def in_use(self) -> bool:
        """Whether outputs are on, and levels may be set."""
        return self._state in IN_USE

    @property
    def orderly(self) -> bool:
        """Whether nothing broke off, so that the sources can be ramped down and relays open as usual."""
        return self._state not in {State.FAULT, State.ROUTING}

    @property
    def closed(self) -> frozenset[Relay] | None:
        """The relays that are closed, as they were read back; None if that is not known."""
        return self._closed

    # -- what was read back

    def verified_off(self, closed: Iterable[Relay]) -> None:
        """Take every output for verified off, and the relays `closed` for those that are; a fault stays one."""
        if not self.orderly:
            return
        closed = frozenset(closed)
        self._enter(self._at_rest(closed), closed)

    def doubt(self) -> None:
        """Take nothing for known that was taken for off, because it did not read so."""
        if self._state in OUTPUTS_OFF:
            self._enter(State.UNKNOWN)

    def at_zero(self) -> None:
        """Take outputs that are on for verified at 0 V behind the low limit."""
        self._require("counted as being at 0 V", IN_USE)
        self._enter(State.ROUTED, self._closed)

    def needles(self, *, down: bool) -> None:
        """Take the needles for where the prober says that they are."""
        if not down:
            self._contact = Contact.UP
        elif self._contact is not Contact.BIASED:
            self._contact = Contact.DOWN

    def biased(self) -> None:
        """Take the bounded first voltage for applied, and for gone; the needles were not up."""
        self._require("taken for biased", {State.ROUTED})
        self.require_needles()
        self._contact = Contact.BIASED

    def another_die(self) -> None:
        """Take nothing for known of the needles: another die is under them."""
        self._contact = Contact.UNKNOWN

    # -- what is about to happen

    def fail(self, reason: str) -> None:
        """Remember why nothing goes on before the bench was made safe."""
        self._reason = reason
        self._enter(State.FAULT)

    def outputs_off(self) -> None:
        """Take every output for verified off, as the first half of making safe."""
        self._require("counted as off in the middle of something", {State.FAULT})
        self._enter(State.OFF)

    def relays_open(self) -> None:
        """Take every relay for verified open, as the second half of making safe."""
        self._require("counted as open in the middle of something", {State.OFF})
        self._enter(State.COLD, frozenset())

    @contextmanager
    def route(self, wanted: Iterable[Relay]) -> Iterator[None]:
        """Let relays move for as long as the block lasts; afterwards exactly `wanted` are closed, as it has verified.

        Outputs that are off go on no line: then all relays open, or those of landing close.
        """
        wanted = frozenset(wanted)
        if self._state in OUTPUTS_OFF:
            if wanted and wanted != self._landing:
                raise IllegalTransition("outputs are off: relays open, or go to landing, and nowhere else")
            self._enter(State.OFF)
            yield
            self._enter(self._at_rest(wanted), wanted)
        else:
            self._require("verified at 0 V, and relays stay as they are", {State.ROUTED})
            self._enter(State.ROUTING)
            yield
            self._enter(State.ROUTED, wanted)

    def require_still(self) -> None:
        """Permit of the matrices: raise unless relays move in a `route`."""
        if self._state not in RELAYS_MOVE:
            raise IllegalTransition(f"the bench is not verified at 0 V, and relays stay as they are: it is {self}")

    def require_sound(self) -> None:
        """Raise if the bench has to be made safe before anything else."""
        if not self.orderly:
            reason = self._reason if self._state is State.FAULT else "a route broke off"
            raise IllegalTransition(f"the bench must be made safe first: {reason}")

    def require_needles(self, station: str = "the station") -> None:
        """Raise ContactError if the needles are up; where nobody knows, they may be down.

        Args:
            station: name of the prober in the bench file.
        """
        if self._contact is Contact.UP:
            raise ContactError(f"{station}: the needles are not in contact; no output goes on. Look at the station")

    def require_permit(self) -> None:
        """Read the latch; if it is set nothing is known of outputs any more, since whoever set it has acted."""
        try:
            self._permit()
        except BaseException:
            if self._state in IN_USE | OUTPUTS_OFF:
                self._enter(State.UNKNOWN)
            raise

    @contextmanager
    def switch_on(self) -> Iterator[None]:
        """Let outputs go on at 0 V while the block lasts; they were verified off, needles not up, the latch not set."""
        if self._state is State.OFF and self._closed is not None:
            raise IllegalTransition(
                f"{self._not_landed}; outputs go on where every relay is open, or as needles landed"
            )
        self._require("switched on", {State.COLD, State.GROUNDED})
        self.require_needles()
        self.require_permit()
        closed = self._closed
        self.fail("switching on broke off")
        yield
        self._enter(State.ENERGISED, closed)

    @contextmanager
    def exercise(self) -> Iterator[None]:
        """Let outputs go on that reach no die while the block lasts: every relay open, needles up, the latch not set.

        Afterwards nothing is known of them: whoever switches an output on here has it off before the block ends, and it
        is read again.

        Raises:
            ContactError: the needles are not known to be up.
            SwitchedOff: the permit refuses.
        """
        self._require("ready for outputs that reach no die", {State.COLD})
        if self._contact is not Contact.UP:
            raise ContactError(
                f"the needles are {self._contact}; outputs that are to reach no die go on with needles up"
            )
        self.require_permit()
        self.fail("an output that was to reach no die may be on")
        yield
        self._enter(State.UNKNOWN)

    @contextmanager
    def drive(self, volts: Volt) -> Iterator[None]:
        """Let levels be set for as long as the block lasts; they may stand afterwards.

        Args:
            volts: the most that two lines differ by, V.
        """
        self.require_drive(volts)
        closed = self._closed
        self.fail("an operation broke off")
        yield
        self._enter(State.ENERGISED, closed)

    @contextmanager
    def script(self, volts: Volt, closed: Iterable[Relay]) -> Iterator[None]:
        """Let an instrument set levels and move relays by itself, at 0 V, while the block lasts.

        Afterwards outputs are at 0 V behind the low limit, and exactly `closed` are closed, as the script has verified.

        Args:
            volts: the most that two lines differ by, V.
        """
        self._require("verified at 0 V, and relays stay as they are", {State.ROUTED})
        self.require_drive(volts)
        self.require_permit()
        self.fail("a script that moves relays by itself broke off")
        yield
        self._enter(State.ROUTED, frozenset(closed))

    def require_drive(self, volts: Volt) -> None:
        """Raise unless levels may be set by which two lines differ by `volts` V at most."""
        self._require("driven", IN_USE)
        if self._contact is not Contact.BIASED and not volts <= self._first_voltage * (1 + 1e-9):
            raise IllegalTransition(
                f"{volts:.3g} V asked for on needles that are {self._contact}: the first voltage after a touch is at "
                f"most {self._first_voltage:.3g} V"
            )

    def require_landing(self) -> None:
        """Raise unless needles may move: outputs off, and exactly the relays of landing closed."""
        if self._state is (State.GROUNDED if self._landing else State.COLD):
            return
        if self._state in OUTPUTS_OFF and self._closed is not None:
            how = "with every pad on ground" if self._landing else "with every relay open"
            raise IllegalTransition(f"{self._not_landed}; needles touch and lift {how}, so land first")
        raise IllegalTransition(f"needles stay where they are: outputs are NOT verified off ({self}); land first")

    def needles_move(self) -> None:
        """Take the needles for moved; raise unless they may."""
        self.require_landing()
        self._contact = Contact.UNKNOWN

    # -- inside

    def _at_rest(self, closed: frozenset[Relay]) -> State:
        """Return the state of a bench whose outputs are off."""
        if not closed:
            return State.COLD
        return State.GROUNDED if closed == self._landing else State.OFF

    @property
    def _not_landed(self) -> str:
        """What distinguishes the closed relays from those of landing, in operator words."""
        closed = self._closed or frozenset()
        missing, others = self._landing - closed, closed - self._landing
        matrices = ", ".join(sorted({matrix for matrix, _ in missing | others}))
        counts = f"{len(missing)} pads are not on ground, and {len(others)} other relays are closed"
        return f"{matrices}: {counts} (look whether somebody else moves relays)"

    def _require(self, what: str, states: Iterable[State]) -> None:
        """Raise IllegalTransition unless the state is one of `states`."""
        if self._state in states:
            return
        self.require_sound()
        raise IllegalTransition(f"the bench is not {what}: it is {self}")

    def _enter(self, state: State, closed: frozenset[Relay] | None = None) -> None:
        """Be in another state; the only place where it changes."""
        self._state, self._closed = state, closed
