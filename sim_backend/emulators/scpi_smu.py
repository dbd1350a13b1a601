"""What emulated source-measure units over SCPI with one channel share: output, settings, measure functions."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from labctl.core.units import Ampere, Volt
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.k2400_smu import Smu
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.scpi.parameters import Parameter, matches
from sim_backend.emulators.world import World

CHANNEL = "out"
"""Name of the only channel on the bench."""
FUNCTIONS = ("VOLTage:DC", "CURRent:DC", "RESistance")


class _Options(Protocol):
    """Keys of the bench file that an emulator looks at."""

    model: str
    terminals: str


class ScpiSmu(ScpiInstrument):
    """A source-measure unit; subclasses add their commands.

    Args:
        smu: the unit behind the commands.
        queue: entries of the error queue.
    """

    identity = "{maker},MODEL {model},{serial},{revision}"

    def __init__(
        self, name: str, model: str, world: World, smu: Smu, *, serial: str, revision: str, queue: int
    ) -> None:
        self.smu = smu
        self._kept: dict[str, Any] = {}
        """Settings that no reading of a current depends on, by their spelling; those left out are as after `*RST`."""
        super().__init__(name, model, world, serial=serial, revision=revision, queue=queue)

    def seek(self, operation: int) -> None:
        """Set the noise to the number of an operation."""
        self.smu.seek(operation)

    @property
    def level(self) -> Volt | Ampere:
        """Level that is set: V, or A if it forces a current."""
        return self.smu.set.level_v if self.smu.volts else self.smu.set.level_i

    def outputs(self) -> dict[str, float]:
        """Return the level of the output if it is on, V, or A if it forces a current."""
        return {CHANNEL: self.level} if self.smu.output else {}

    def trip(self) -> None:
        """Switch the output off by itself."""
        self.smu.switch(False)

    def power_off(self) -> None:
        """Drive nothing any more."""
        self.world.drive(self.smu.wire, None)

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message aborts the running one."""
        return line.strip().upper().lstrip(b":").startswith(b"ABOR")

    def _limited(self) -> bool:
        """Return whether the output is at its limit."""
        return self.smu.output and self.world.observe(self.smu.wire).limited

    def _tripped(self, current: bool) -> str:
        """Return whether the limit of the current, or of the voltage, acts, as a response."""
        return str(int(self.smu.volts == current and self._limited()))

    def _field(self, spelled: str, parameter: Parameter, name: str, holder: Callable[[], Any] | None = None) -> None:
        """Add a setting that is an attribute of the unit's settings, or of `holder`; the output follows."""

        def read() -> Any:
            return getattr(holder() if holder else self.smu.set, name)

        def write(value: Any) -> None:
            setattr(holder() if holder else self.smu.set, name, value)
            self.smu.apply()

        self.setting(spelled, parameter, read, write)

    def _keep(self, spelled: str, parameter: Parameter, default: Any) -> None:
        """Add a setting that no level and no reading of a current depends on."""

        def write(value: Any) -> None:
            self._kept[spelled] = value

        self.setting(spelled, parameter, lambda: self._kept.get(spelled, default), write)


def function_named(name: str) -> str:
    """Return a measure function by its name in quotes; -224 if there is none.

    >>> function_named("CURR"), function_named("volt:dc")
    ('CURRent:DC', 'VOLTage:DC')
    """
    first, *rest = name.strip().split(":")
    for function in FUNCTIONS:
        word, *more = function.split(":")
        if matches(first, word) and [part.upper() for part in rest] in ([], more):
            return function
    raise ScpiError(-224)


S = TypeVar("S", bound=ScpiSmu)


def emulated(make: Callable[..., S], name: str, options: _Options, context: EmulatorContext) -> S:
    """Return the emulated instrument of an entry of the bench file, as the function that a plug-in names does.

    Args:
        make: its class.
        options: give model and terminals.
    """
    return make(
        name,
        options.model,
        context.world,
        wired="REAR" if options.terminals == "rear" else "FRONt",
        ideal=context.ideal,
        seed=context.seed,
        offset=context.offset,
        gain=context.gain,
    )
