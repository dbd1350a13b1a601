"""Errors name the cause, because that decides what the operator does next.

Every error carries the exit code of the command line (``docs/exit-codes.md``), so that a script can tell a typing
error in a file from a die that must be looked at.
"""

from typing import ClassVar

from labctl.core.exit_codes import ExitCode
from labctl.core.secrets import without_secrets
from labctl.core.texts import visible


class LabError(Exception):
    """An error with an operator-readable message; ``exit_code`` is what the command line returns for it.

    What no terminal and no file can hold is written out in the message, such as the garbled reply of an instrument, and
    "..." stands for a secret: messages are kept in journals and reports.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    begun = False
    """A run was begun before, whose journal has this error and the exit code `ends_with`."""

    @property
    def ends_with(self) -> ExitCode:
        """Exit code of the command: once a run has its folder it is stopped, and before that refused."""
        code = ExitCode(self.exit_code)
        if code in (ExitCode.REFUSED, ExitCode.STOPPED):
            return ExitCode.STOPPED if self.begun else ExitCode.REFUSED
        return code

    def __str__(self) -> str:
        return visible(without_secrets(super().__str__()))


class BenchError(LabError):
    """The files or the bench they describe are wrong; nothing has been energised."""

    exit_code = ExitCode.REFUSED


class LimitError(LabError):
    """A bias is beyond a limit; refused before anything was energised.

    Args:
        quantity: what is limited, in operator words ("cell voltage towards P").
        value: the requested value, in ``unit``.
        limit: the limit, in ``unit``.
        unit: SI unit of both.
    """

    exit_code = ExitCode.STOPPED

    def __init__(self, quantity: str, value: float, limit: float, unit: str) -> None:
        super().__init__(f"{quantity}: {value:.6g} {unit} asked for, the limit is {limit:.6g} {unit}")
        self.quantity, self.value, self.limit, self.unit = quantity, value, limit, unit

    def __reduce__(self) -> tuple[type, tuple[str, float, float, str]]:
        return (type(self), (self.quantity, self.value, self.limit, self.unit))


def refuse_beyond(quantity: str, value: float, limit: float, unit: str) -> None:
    """Raise LimitError if `value` exceeds `limit` by more than rounding; NaN never passes."""
    if not value <= limit * (1 + 1e-12):
        raise LimitError(quantity, float(value), limit, unit)


class InstrumentError(LabError):
    """An instrument answered with an error, or not as its manual says."""

    exit_code = ExitCode.STOPPED


class NotDriven(InstrumentError):
    """An output was off, or at another level than was set, while something was read: nothing of that is accepted."""


class LinkTimeoutError(InstrumentError):
    """An instrument did not answer in time."""


class ContactUnread(InstrumentError):
    """A contact check has read no number, twice: nobody knows whether the needles touch."""


class SwitchedOff(InstrumentError):
    """The bench was switched off, and nothing is energised before it is released; the run can be resumed."""

    exit_code = ExitCode.OPERATOR


class ComplianceError(InstrumentError):
    """A source went into compliance where the procedure cannot go on."""


class ContactError(LabError):
    """The needles do not touch the pads."""

    exit_code = ExitCode.STOPPED


class ContactLost(ContactError):
    """Contact was proved before and is gone: what was measured since is void."""


class StorageError(LabError):
    """Data cannot be written or read; outputs are made safe before anything else is tried."""

    exit_code = ExitCode.STORAGE


class NotThereError(StorageError):
    """There is no run, or no such die in it, where the command line says: a slip, and nothing was to be read."""

    exit_code = ExitCode.REFUSED


class LeftUnverified(InstrumentError):
    """A bench was left and could not be verified safe; the operator has to go there."""

    exit_code = ExitCode.NOT_OFF
