"""A board that is connected, behind the limits of its bench file.

Opening reads and changes nothing; a board that drives a line is refused, as a bench with an output on is.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from types import TracebackType
from typing import Any, Self, overload

from instruments.at_rest import refuse_outputs_on
from instruments.board_bench import BOARD, PROBER, BoardBench
from instruments.board_needles import BoardNeedles
from instruments.calibration import calibration_text
from instruments.drivers import Connect, close_all, driver_of, visa, warnings_of
from instruments.interfaces import lacking
from instruments.manual_prober import Ask
from instruments.serials import require_serials
from labctl.core.bias import Kind, Nominal
from labctl.core.board import Board, Bounded, Releasing, Traffic
from labctl.core.die import Die, DieWrapper, PlanScripts, unknown_operation
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.prober import Prober


class BoardDie(Limited):
    """A die on a board, behind the limits of the bench file.

    Args:
        permit: raises when nothing may be energised; called before each operation.
        ready: raises when the die may not be driven yet; called before each operation.
        inside: write plans are carried out on the board itself, as the bench file says.

    Raises:
        BenchError: `inside`, and the board carries out no plans by itself.
    """

    def __init__(
        self,
        die: Die,
        limits: Limits,
        permit: Callable[[], None] = lambda: None,
        *,
        ready: Callable[[], None] = lambda: None,
        inside: bool = False,
    ) -> None:
        super().__init__(die, limits)
        self._permit, self._ready, self._inside = permit, ready, inside
        if inside and super().scripts is None:
            raise BenchError(
                "'programming: instrument': this board carries out no write plans by itself; leave it at host"
            )

    @property
    def scripts(self) -> PlanScripts | None:
        """How write plans are carried out on the board; None: by the host loop."""
        return super().scripts if self._inside else None

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation` within the limits, if anything may be energised.

        Raises:
            SwitchedOff: somebody has switched the bench off, before it or while it went on.
        """
        self._permit()
        self._ready()
        try:
            return super().perform(operation)
        except LabError:
            self._permit()  # what ended it may be the board that somebody made safe
            raise

    @property
    def traffic(self) -> Traffic | None:
        """Predicts events and bytes on the link; None of a board that does not know them."""
        return getattr(self._die, "traffic", None)


class BareBoard(DieWrapper[Any]):
    """A board as a die without limits: the nominal conductances are those of the die that is on it.

    A write plan comes here only for a board that carries out plans by itself.
    """

    def __init__(self, board: Board, nominal: Nominal) -> None:
        super().__init__(board)
        self._nominal = nominal

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances."""
        return self._nominal

    def perform(self, operation: Operation) -> Any:
        """Do what the board does by itself; BenchError for anything else."""
        if not isinstance(operation, Sense | Pulse) and (not isinstance(operation, WritePlan) or self.scripts is None):
            raise unknown_operation(self, operation)
        return self._die.perform(operation)


@dataclass
class OpenBoard:
    """A board that is connected. Leaving it as a context makes it safe and closes it.

    Args:
        identities: identity of the board and of its prober; empty without a connection.
        calibrations: what is known of the calibration of each instrument, of those of which anything is.
        old_errors: errors that stood in its queue when it was connected, if there were any.
        permit: raises when nothing may be energised.
        prober: moves the needles at which the lines of the board end; None where a die is on the board.
        needles: what is known of them.
    """

    bench: BoardBench
    board: Board
    identities: dict[str, str] = field(default_factory=dict)
    old_errors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calibrations: dict[str, str] = field(default_factory=dict)
    permit: Callable[[], None] = lambda: None
    prober: Prober | None = None
    needles: BoardNeedles | None = None

    @property
    def parts(self) -> list[Any]:
        """Its drivers: the board, and its prober."""
        return [self.board] if self.prober is None else [self.board, self.prober]

    def turn_to(self, nominal: Nominal, polarity: int = 1) -> Die:
        """Return the die interface for another die on the board; the board is made safe first.

        On needles nothing is driven before their contact was checked.
        """
        self.off()
        self.board.turn_to(nominal, polarity)
        bare, bounds = BareBoard(self.board, nominal), self.bench.bounds
        if self.needles is None:
            return BoardDie(bare, bounds, self.permit, inside=self.bench.inside)
        self.needles.another_die(BoardDie(bare, bounds, self.permit))
        return BoardDie(bare, bounds, self.permit, ready=self.needles.require_contact, inside=self.bench.inside)

    def warnings(self) -> list[str]:
        """Return what its instruments have warned of since the last call."""
        return warnings_of(self.parts)

    def off(self) -> None:
        """Switch every line off, verified."""
        self.board.off()
        self.board.verify_off()

    def close(self) -> None:
        """Close the connections; every one is tried, InstrumentError with all errors."""
        close_all(self.parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.off()
        finally:
            self.close()


def open_board(
    bench: BoardBench,
    *,
    connect: Connect | None = None,
    ask: Ask | None = None,
    permit: Callable[[], None] = lambda: None,
    today: Callable[[], date] = date.today,
) -> OpenBoard:
    """Connect the board of a bench file, and its prober, and return it; nothing is changed and nothing moves.

    Args:
        connect: makes the transports; None is VISA.
        ask: puts a sentence to the operator; needed with a manual prober.
        permit: raises when nothing may be energised; called before it is connected and before each operation.
        today: whether its calibration is overdue is judged by.

    Raises:
        BenchError: a driver lacks a method, an instrument has another serial number, a line is driven, or a prober is
            to move under a board that cannot take the power from a chip.
        InstrumentError: one does not answer; both are closed again.
        SwitchedOff: by `permit`.
    """
    permit()
    connect = connect or visa()
    board = driver_of(BOARD, bench.body, connect, None)
    opened = OpenBoard(bench, board, permit=permit)
    try:
        _require(bench, BOARD, board)
        if bench.prober is not None:
            _require_powerless(bench, board)
            opened.prober = prober = driver_of(PROBER, bench.prober, connect, ask)
            _require(bench, PROBER, prober)
            opened.needles = BoardNeedles(bench, board, prober)
        if isinstance(board, Bounded):
            board.keep_within(bench.bounds)
        for name, part in zip(bench.instruments, opened.parts, strict=True):
            opened.identities[name] = part.connect()
            if old_errors := getattr(part, "old_errors", ()):
                opened.old_errors[name] = tuple(old_errors)
        require_serials(bench, opened.identities)
        refuse_outputs_on(bench.name, {BOARD: board})
        for name, part in zip(bench.instruments, opened.parts, strict=True):
            if calibration := calibration_text(part, bench.instruments[name].calibration, today()):
                opened.calibrations[name] = calibration
    except BaseException:
        with contextlib.suppress(InstrumentError):
            opened.close()
        raise
    return opened


def _require(bench: BoardBench, name: str, driver: Any) -> None:
    """Raise BenchError if a driver lacks a method of its kind."""
    entry = bench.instruments[name]
    kind = entry.declaration.kind
    if missing := lacking(driver, kind):
        raise BenchError(f"{name}: driver '{entry.driver}' is a {kind} and lacks {', '.join(missing)}")


def _require_powerless(bench: BoardBench, board: Board) -> None:
    """Raise BenchError for a prober under a board of chips, which have supplies, that cannot take them away."""
    if bench.geometry().kind is not Kind.PASSIVE and not isinstance(board, Releasing):
        raise BenchError(
            f"{PROBER}: driver '{bench.body.driver}' cannot take the power from a chip, and needles would touch and "
            "lift under it; expected one that can, or no 'prober'"
        )


def planned_board(bench: BoardBench, nominal: Nominal, polarity: int = 1) -> Die:
    """Return the die of a board that is not connected, behind the limits of the bench: `check` works."""
    die = bench.body.planned(nominal, polarity)
    if isinstance(die, Bounded):
        die.keep_within(bench.bounds)
    return BoardDie(die, bench.bounds, inside=bench.inside)
