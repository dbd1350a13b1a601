"""A source of PyMeasure or QCoDeS behind our interface: its object sets and measures, we read back and make safe.

Verified against: the emulated 2400, 2450 and 2600B of this project, with PyMeasure 0.16.0 and QCoDeS 0.58.0; on no real
instrument.

The object is made when the source is set up, because many send settings when they are made. Identity and state are read
before, and read back after each setting, by a driver of ours for the same instruments where there is one, else by the
statements that the bench file gives. Whatever the object raises is an error of this instrument that names the call. A
call that does not come back ends by `longest_call`. The host times every step, so that pulses are long.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from instruments.adapter.objects import ForeignObject
from instruments.adapter.options import (
    PyMeasureOptions,
    QCoDeSOptions,
    SourceOptions,
    family_capabilities,
    family_options,
)
from instruments.adapter.roles import is_empty, no_error, number, truth
from instruments.adapter.statements import Statement
from instruments.host_timed import HostTimedSource
from instruments.identity import fields_of
from instruments.transport import CHECK, MAINS, unexpected
from labctl.core.driver import Diagnosed, Driver, DriverKind, declared
from labctl.core.errors import BenchError, InstrumentError, LabError, NotDriven
from labctl.core.source import ChannelSetup, ChannelState, OffState, SourceCapabilities
from labctl.core.transport import Transport, Wait
from labctl.core.units import Ampere, Second, Volt

Value = TypeVar("Value")
STEP_MESSAGES = 7.0
"""Messages of a reading: what its class sends for it, whether it was limited, and the state; other steps take fewer."""
ENTRIES = 64
"""Entries of an error queue, beyond which it is no queue."""
CYCLES = 50.0
"""Mains frequency that is assumed before the instrument was asked, Hz."""


class AdaptedSource(HostTimedSource):
    """A source whose commands are statements about an object of another library.

    Args:
        name: in the bench file.
        options: from the bench file.
        transport: the wire.
    """

    def __init__(self, name: str, options: SourceOptions, transport: Transport) -> None:
        super().__init__(name, capabilities(options))
        self._options, self._roles, self._transport = options, options.merged, transport
        self._object = ForeignObject(name, options.library, options.class_, transport, options.longest_call)
        self._paths = options.paths
        self._family: Any = None
        if options.reads_back:
            self._family = declared(options.reads_back)[0].make(name, family_options(options), transport)
        self._mains = CYCLES
        self._ranges: dict[str, Ampere] = {}

    # -- statements

    def _carry_out(self, role: str, channel: str, lines: tuple[str, ...] | None = None, **variables: Any) -> Any:
        """Carry out the statements of a role; return the value of the last one.

        Raises:
            InstrumentError: the object raised, did not come back, or has no such attribute.
        """
        value: Any = None
        for line in getattr(self._roles, role) if lines is None else lines:
            statement = Statement(line)
            scope = {"channel": channel, **variables, **self._functions}
            if not statement.needs(scope):
                value = self._object.without(partial(statement.carry_out, scope, None), f"{role}: {line}")
                continue

            def act(made: Any, statement: Statement = statement, scope: dict[str, Any] = scope) -> Any:
                part = made
                for step in filter(None, self._paths.get(channel, "").split(".")):
                    part = getattr(part, step)
                return statement.carry_out({**scope, "device": made}, part)

            value = self._object.call(act, f"{role}: {line}", variables.get("seconds", 0.0))
        return value

    def _read(self, convert: Callable[[Any], Value], role: str, channel: str, **variables: Any) -> Value:
        """Return what a role gives, converted; InstrumentError names instrument and role if it cannot be."""
        value = self._carry_out(role, channel, **variables)
        converted: Value = self._object.without(partial(convert, value), role)
        return converted

    @property
    def _functions(self) -> dict[str, Any]:
        return {"query": self._query, "send": self._transport.write, "number": number, "int": int, "str": str}

    def _query(self, text: str) -> str:
        return self._transport.query(text, wait=Wait.QUERY).strip()

    def _no_error(self, channel: str, text: str) -> None:
        """Raise InstrumentError if the error queue has an entry after `text`."""
        if not self._roles.error:
            return
        reply = str(self._carry_out("error", channel))
        no_error(f"{self.name}.{channel}", text, self._roles.error[-1], reply)

    def _expect(self, role: str, channel: str, lines: tuple[str, ...] | None = None, **variables: Any) -> None:
        """Raise InstrumentError unless all conditions of a role, or these ones, are true."""
        for line in getattr(self._roles, role) if lines is None else lines:
            if self._carry_out(role, channel, (line,), **variables) is not True:
                off = "" if lines is None and role != "expect" else "the output stays off; "
                raise InstrumentError(
                    f"{self.name}.{channel}: '{line}' is not true after {self._options.class_} set it; {off}{CHECK}"
                )

    # -- what it is and does

    def identify(self) -> str:
        """Return the identity; nothing of the object is made for it where a driver of ours asks."""
        if self._family is not None:
            identity = str(self._family.connect())
            self.capabilities = _over(self._family.capabilities, self._options)
            return identity
        identity = str(self._carry_out("identity", self._first)).strip()
        model = self._options.model
        if model and fields_of(identity, model).model.upper() != model.upper():
            raise BenchError(f"{self.name}: '{identity}' answers, and the bench file says {model}; check its address")
        return identity

    @property
    def old_errors(self) -> tuple[str, ...]:
        """Errors that stood in the queue when it was connected, where a driver of ours has read it."""
        return tuple(getattr(self._family, "old_errors", ()))

    @property
    def _first(self) -> str:
        return self.capabilities.channels[0]

    def state(self) -> dict[str, ChannelState]:
        """Return the present state of every channel, as it is read back."""
        return dict(self._family.state()) if self._family is not None else super().state()

    def read_state(self, channel: str) -> ChannelState:
        """Read back output, level and limit of a channel."""
        if self._family is not None:
            state: ChannelState = self._family.state()[channel]
            return state
        on = self._read(truth, "is_on", channel)
        level, limit = (self._read(number, role, channel) for role in ("is_level", "is_limit"))
        return ChannelState(on, level, abs(limit))

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return what the driver of ours that reads back knows more of the instrument; nothing without one."""
        return self._family.diagnosis() if isinstance(self._family, Diagnosed) else ([], [])

    def verify_off(self) -> None:
        """Read back that every output is off at 0 V; InstrumentError if one is not."""
        if self._family is not None:
            self._family.verify_off()
        else:
            super().verify_off()

    # -- settings

    def prepare(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Set channels up; see `HostTimedSource.prepare`.

        Raises:
            BenchError: also an off state, or a remote sense, that no statement of `set_up` sets; nothing was sent.
        """
        for channel, setup in setups.items():
            for value, default, variable in (
                (setup.off_state, OffState.NORMAL, "off_state"),
                (setup.remote_sense, False, "remote_sense"),
            ):
                if value != default and not self._roles.uses("set_up", variable):
                    raise BenchError(
                        f"{self.name}.{channel}: the bench file wants {variable} {value}, and 'set_up' of "
                        f"{self._options.class_} does not use it; add a statement with {variable} to its roles"
                    )
        super().prepare(setups)

    def set_up(self, channel: str, range_v: Volt, setup: ChannelSetup) -> None:
        """Carry out set_up and the settings of the bench file, and see that what is expected is true."""
        words: dict[str, Any] = {
            "range_v": range_v, "off_state": setup.off_state.value, "remote_sense": int(setup.remote_sense),
            "terminals": self._options.terminals,
        }  # fmt: skip
        self._ranges.pop(channel, None)
        self._carry_out("set_up", channel, **words)
        self._carry_out("settings", channel, self._options.settings)
        mains = self._read(number, "mains", channel)
        if mains not in MAINS:
            raise unexpected(self.name, self._roles.mains[-1], f"{mains:g}", "a mains frequency of 50 or 60")
        self._mains = mains
        self._no_error(channel, "set_up")
        self._expect("expect", channel, **words)
        self._expect("settings_expect", channel, self._options.settings_expect)

    def set_level(self, channel: str, volts: Volt) -> None:
        """Set the level and read it back before anything else is done at it.

        A level that the object does not take, or overshoots, has stood until this reading; then it is 0 V.

        Raises:
            NotDriven: another level is read back.
        """
        self._carry_out("level", channel, volts=volts)
        level = self._known(channel).level
        if math.isclose(level, volts, rel_tol=1e-3, abs_tol=1e-6):
            return
        if volts != 0:
            self._levels[channel] = 0.0
            self._carry_out("level", channel, volts=0.0)
        raise NotDriven(
            f"{self.name}.{channel} is at {level:.6g} V after '{'; '.join(self._roles.level)}' set {volts:.6g} V; "
            f"it was set to 0 V, and nothing of this script is accepted. Look at 'level' in its roles, and "
            "whether somebody works at its front panel"
        )

    def set_limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        """Set limit and measure range; a range above that of the limit would hold nothing more."""
        full = min(self._range(limit, self.capabilities.ranges_i, "A"), range_i)
        down = full < self._ranges.get(channel, 0.0) and self._roles.limit_down
        self._carry_out("limit_down" if down else "limit", channel, amps=limit, range_i=full)
        self._ranges[channel] = full
        self._no_error(channel, f"a limit of {limit:.6g} A")
        self._expect("expect_limit", channel, amps=limit, range_i=full)

    def set_output(self, channel: str, on: bool) -> None:
        """Switch the output."""
        self._carry_out("output_on" if on else "output_off", channel)

    def set_aperture(self, channel: str, seconds: Second) -> None:
        """Set the integration time, and see that what is expected is true."""
        self._object.line.extra = 20 * seconds + 1.0
        times: dict[str, Any] = {"seconds": seconds, "cycles": seconds * self._mains}
        self._carry_out("aperture", channel, **times)
        self._no_error(channel, f"an aperture of {seconds:.6g} s")
        self._expect("expect_aperture", channel, **times)

    def pause(self, seconds: Second) -> None:
        """Let a time pass by the clock of the host."""
        self._transport.let_pass(seconds)

    # -- readings

    def limited(self, channel: str) -> bool:
        """Return whether a channel is at its current limit."""
        return self._read(truth, "limited", channel)

    def measure(self, channel: str, voltage: bool) -> tuple[Ampere, Volt]:
        """Measure the current, A, NaN beyond the range, and with `voltage` the voltage, V."""
        reading = self._carry_out("measure", channel)
        amps = _within(self._read(number, "current", channel, reading=reading))
        if not voltage:
            return amps, math.nan
        return amps, _within(self._read(number, "voltage", channel, reading=reading))

    # -- off

    def off(self, rate: float | None = None) -> None:
        """Go to 0 V (ramped at `rate` V/s if given) and off through the object; where that fails, without it.

        Raises:
            InstrumentError: not verified off.
        """
        try:
            super().off(rate)
            self._empty_queue()
        except LabError as error:
            try:
                self.emergency_off()
            except LabError as second:
                raise InstrumentError(f"{second}; before that: {error}") from error

    def _empty_queue(self) -> None:
        """Read the error queue empty: what somebody left made settings of off refused, and blames no later command."""
        if not self._roles.error:
            return
        for _ in range(ENTRIES):
            if is_empty(self.name, self._roles.error[-1], str(self._carry_out("error", self._first))):
                return
        raise InstrumentError(f"{self.name} has errors in its queue without an end; {CHECK}")

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """Switch off by the first bytes of a fresh connection, without the object; then verify it.

        By the driver of ours for the same instruments, or by what `emergency` of the bench file sends; where there is
        neither, through the object.

        Raises:
            InstrumentError: it cannot be reached, or is not verified off.
        """
        self._levels.clear()
        if self._family is not None:
            before: Mapping[str, ChannelState] = self._family.emergency_off()
            return before
        words = self._options.emergency
        if words is None:
            self._switch_off(urgent=True)
            return {}
        fields = words.ask.count(";")
        reply = self._transport.cut_in("\n".join(words.send), words.ask, lambda line: line.count(";") == fields)[-1]
        try:
            off = all(float(part) == 0 for part in reply.replace(";", ",").split(","))
        except ValueError:
            off = False
        if not off:
            raise InstrumentError(
                f"{self.name} is NOT verified off: '{words.ask}' was answered by '{reply}', and only zeros are off; go "
                "there and switch it off"
            )
        return {}

    def close(self) -> None:
        """Let go of the object and close the connection."""
        try:
            self._object.close()
        finally:
            self._transport.close()


def _within(value: float) -> float:
    """Return a reading, NaN for the numbers that stand for none: SCPI's 9.9E37 and more."""
    return value if abs(value) < 9e37 else math.nan


def _over(known: SourceCapabilities, options: SourceOptions) -> SourceCapabilities:
    """Return the capabilities of a driver of ours, but for what the host times."""
    return replace(
        known,
        channels=tuple(channel for channel in known.channels if channel in options.paths),
        shortest_pulse=options.shortest_pulse,
        longest_pulse=options.longest_pulse,
        stands=True,
        step_messages=STEP_MESSAGES,
    )


def capabilities(options: SourceOptions) -> SourceCapabilities:
    """Return the capabilities of a source: of its family or of the bench file, with pulses that the host times."""
    if options.reads_back:
        return _over(family_capabilities(options), options)
    own = options.capabilities
    if own is None:
        raise BenchError(f"'{options.class_}' has neither a family of ours nor capabilities")
    return SourceCapabilities(
        options.model or options.class_.rpartition(".")[2],
        tuple(options.paths),
        own.ranges_v,
        own.ranges_i,
        options.shortest_pulse,
        (own.shortest_aperture, own.longest_aperture),
        step_messages=STEP_MESSAGES,
        longest_pulse=options.longest_pulse,
    )


def emulator(options: SourceOptions) -> tuple[str, Any] | None:
    """Return the emulator of the instruments of a class, with its options; None if there is none."""
    return declared(options.reads_back)[0].emulator_of(family_options(options)) if options.reads_back else None


def _make_pymeasure(name: str, options: PyMeasureOptions, transport: Transport) -> AdaptedSource:
    """Return a source of PyMeasure."""
    return AdaptedSource(name, options, transport)


def _make_qcodes(name: str, options: QCoDeSOptions, transport: Transport) -> AdaptedSource:
    """Return a source of QCoDeS."""
    return AdaptedSource(name, options, transport)


PYMEASURE = Driver(DriverKind.SOURCE, _make_pymeasure, PyMeasureOptions, capabilities=capabilities, emulator=emulator)
QCODES = Driver(DriverKind.SOURCE, _make_qcodes, QCoDeSOptions, capabilities=capabilities, emulator=emulator)
