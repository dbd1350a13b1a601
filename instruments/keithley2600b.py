"""Keithley 2600B source-measure units. Written from public manual facts; not verified on a real instrument.

Verified against: transcripts of the manual's facts, and the emulated 2600B of this project.

One class for the family, models as data. An output that is off is at 0 V behind a limit, a low-impedance node on the
die, so the off state is set explicitly; `abort` changes no output, so the emergency order is abort, 0 V, off, read
back. Timed steps, and steps that would cost a round trip per pattern, run inside the instrument as one script.

A running script accepts only `abort`, and a link may fail between two scripts. So the steps of a script run in a
protected call, within a time that the host computes and the instrument's own timer enforces, and every script ends
with 0 V behind the low limit on every channel that was set up (`keithley2600b_script`). Which script the steps are, and
how long it takes, is `keithley2600b_steps`.

One module, because a driver is one class: here is what is sent and read back, and when.
"""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from instruments.host_timed import noting
from instruments.keithley2600b_defaults import LEFT_ALONE, RANGES, SET_ANEW, after_reset, question, values_in
from instruments.keithley2600b_inside import InsidePrograms
from instruments.keithley2600b_models import MODELS, SHORTEST_PULSE
from instruments.keithley2600b_program import SIZE
from instruments.keithley2600b_replies import (
    STATE,
    as_text,
    day_of,
    driven,
    numbers_in,
    sample_in,
    state_in,
    state_of,
)
from instruments.keithley2600b_script import COUNTED_STEPS, FUNCTIONS, RAMP, TOLERANCE
from instruments.keithley2600b_settings import FORMAT, OFF_MODE, Setting, messages, settings
from instruments.keithley2600b_steps import LINE_FREQUENCY, LONGEST_APERTURE, SLACK, StepCompiler
from instruments.timing import RAMP_STEP
from instruments.transport import CHECK, LISTEN, MAINS, unexpected
from instruments.tsp import Refused, Tsp, number, old_errors_text
from labctl.core.driver import Calibration, Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError, LabError, NotDriven
from labctl.core.model import Model, one_of
from labctl.core.source import (
    ChannelSetup,
    ChannelState,
    Level,
    Measure,
    OffState,
    Ramp,
    Sample,
    SourceCapabilities,
    Step,
    Watch,
    levels_after,
)
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second, Volt

CHANNELS = ("smua", "smub")
"""Every channel that a 2600B can have."""

_PRESENT = ",".join(f"s.{name}" for name in STATE)

SWEEPING = "status.operation.sweeping.condition"
"""Bits 1 and 2 are of sweeps on smua and smub."""

AT_ONCE = 12
"""Attributes that are read in one message."""


class Keithley2600BOptions(Model):
    """Options of a 2600B in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keithley2600b: model", MODELS))] = Field(
        default="2602B", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )
    output_enable: bool = Field(default=False, description="the output-enable line must switch outputs off")
    session_off: OffState = Field(default=OffState.HIGH_Z, description="off state left behind at the end")
    tsplink: int | None = Field(default=None, ge=1, le=64, description="its node number on the TSP-Link cable")

    @model_validator(mode="after")
    def _line_that_acts(self) -> Self:
        if self.output_enable and not MODELS[self.model].output_enable:
            raise ValueError(f"the interlock of a {self.model} always acts; leave out 'output_enable'")
        return self


class Keithley2600B(InsidePrograms):
    """One 2600B with its one or two channels.

    Args:
        transport: the wire.
        name: in the bench file.
        model: as the bench file states it; `connect` refuses another. Makes `capabilities` known without a
            connection.
        output_enable: True if the interlock line must switch outputs off (needs a model where that can be chosen).
        session_off: off state that `close` leaves behind.
    """

    def __init__(
        self,
        transport: Transport,
        name: str = "smu",
        *,
        model: str = "2602B",
        output_enable: bool = False,
        session_off: OffState = OffState.HIGH_Z,
    ) -> None:
        if model not in MODELS:
            raise BenchError(f"{name}: model '{model}' is not one of {', '.join(MODELS)}")
        if output_enable and not MODELS[model].output_enable:
            raise BenchError(f"{name}: the interlock of a {model} always acts; leave out 'output_enable'")
        self.name = name
        self._model, self._data = model, MODELS[model]
        self._tsp = Tsp(transport, name)
        self._output_enable, self._session_off = output_enable, session_off
        self._steps = StepCompiler(name, model)
        self.old_errors: tuple[str, ...] = ()
        """Errors that stood in the queue of the instrument when it was connected."""

    @property
    def capabilities(self) -> SourceCapabilities:
        """Capabilities of this model; apertures of 0.001 to 25 power line cycles."""
        return _capabilities(self._model, self._steps.line_frequency)

    def connect(self) -> str:
        """Read identity, mains frequency and state, and empty the error queue by reading it; set nothing.

        Raises:
            BenchError: another model answers, or the instrument says more than it was asked.
            InstrumentError: it does not answer, or its mains frequency is none.
        """
        identity = self._tsp.identity([self._model])
        (frequency,) = self._tsp.numbers("localnode.linefreq", 1)
        if frequency not in MAINS:
            raise unexpected(self.name, "localnode.linefreq", f"{frequency:g}", "a mains frequency of 50 or 60")
        self._steps.line_frequency = frequency
        self.state()
        self.old_errors = self._tsp.old_errors()
        return identity.line

    def state(self) -> dict[str, ChannelState]:
        """Return the present state of every channel."""
        states = {}
        for channel in self._data.channels:
            names = ",".join(f"{channel}.source.{name}" for name in STATE)
            states[channel] = state_in(*self._tsp.numbers(names, len(STATE)))
        return states

    def calibration(self) -> dict[str, Calibration]:
        """Return when each channel was calibrated and is due again, as `smuX.cal` has it; 0 there is a date not set."""
        dates = {}
        for channel in self._data.channels:
            of = f"pcall(function() return {channel}.cal.date,{channel}.cal.due end)"
            text = f'(function(k,d,u) return string.format("%.0f,%.0f",k and d or 0,k and u or 0) end)({of})'
            reply = self._tsp.transport.query(f"print({text})")
            days = numbers_in(reply, 2, f"{self.name}.{channel}", "dates of calibration")
            dates[channel] = Calibration(*map(day_of, days))
        return dates

    def interlocks(self) -> dict[str, tuple[bool, bool | None]]:
        """Return per channel whether its output-enable line acts on the output, and whether it is asserted now.

        On the 2601B to 2604B the line is ignored unless `outputenableaction` is set; on the others it is an
        interlock and always acts. [?] Not every edition of the manual lists `outputenabled`, so it is read in a
        protected call; None is an instrument that does not know it.
        """
        interlocks = {}
        for channel in self._data.channels:
            source = f"{channel}.source."
            read = f"local known,value=pcall(function() return {source}outputenabled end)"
            reply = self._tsp.transport.query(f"{read} print({source}outputenableaction,tostring(known and value))")
            action, _, enabled = reply.strip().partition("\t")
            asserted = {"true": True, "1": True, "false": False, "0": False}.get(enabled.split(".")[0])
            acts = numbers_in(action, 1, f"{self.name}.{channel}", "source.outputenableaction") != [0.0]
            interlocks[channel] = acts or not self._data.output_enable, asserted
        return interlocks

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return output-enable lines, what is not as after a reset, old errors; and lines that are open and act."""
        state, faults = [], []
        for channel, (acts, asserted) in self.interlocks().items():
            line = {True: "asserted", False: "NOT asserted", None: "not reported"}[asserted]
            effect = "switches the output off" if acts else "ignored"
            state.append(f"{channel}: output enable {line}, {effect}")
            if acts and asserted is False:
                faults.append(f"{channel}: the output-enable line is open; no output goes on before it is closed")
            present = {name.removeprefix(f"{channel}."): value for name, value in self._left_at(channel).items()}
            if present:
                state.append(f"{channel}: not as after a reset, and set anew before it is used: {_listed(present)}")
        if anew := self._others(SET_ANEW):
            state.append(f"not as after a reset, and set anew before a channel is used: {_listed(anew)}")
        if alone := self._others(LEFT_ALONE):
            state.append(f"not as after a reset, without effect on a reading: {_listed(alone)}")
        sweeping = int(self._shown([SWEEPING]).get(SWEEPING, 0))
        waiting = [channel for k, channel in enumerate(CHANNELS) if sweeping >> k + 1 & 1]
        if waiting:
            state.append(f"{', '.join(waiting)}: a sweep is running or waits for its event; it ends before it is used")
        return state + old_errors_text(self.old_errors), faults

    def mains(self) -> float:
        """Return the mains frequency that the instrument integrates by, Hz, as it was read when it was connected."""
        return self._steps.line_frequency

    def _left_at(self, channel: str) -> dict[str, float]:
        """Return the attributes of a channel that are not as after a reset; ranges where somebody has chosen them."""
        defaults = {f"{channel}.{name}": value for name, value in after_reset(self._model).items()}
        others = self._others(defaults)
        chosen = [name for name, auto in RANGES.items() if f"{channel}.{auto}" in others]
        return others | self._shown([f"{channel}.{name}" for name in chosen])

    def _others(self, defaults: Mapping[str, float]) -> dict[str, float]:
        """Return the attributes that have other values than `defaults`; one that the firmware lacks has none."""
        present = self._shown(list(defaults))
        return {name: value for name, value in present.items() if not _same(value, defaults[name])}

    def _shown(self, attributes: Sequence[str]) -> dict[str, float]:
        """Return the values of those of some attributes that the firmware has."""
        values: dict[str, float] = {}
        for begin in range(0, len(attributes), AT_ONCE):
            piece = attributes[begin : begin + AT_ONCE]
            reply = self._tsp.transport.query(question(piece))
            values |= dict(zip(piece, values_in(reply, len(piece)), strict=True))
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def prepare(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Reset channels that are off, set them up at 0 V behind the cold limit, fixed ranges; read every setting back.

        Raises:
            BenchError: a setup that this model cannot take; nothing has been sent.
            InstrumentError: an output is on, a setting was refused, or was not taken.
        """
        plans = {channel: self._settings(channel, setup) for channel, setup in setups.items()}
        self._refuse_if_on(setups)
        self._steps.forget_joined()
        for text in (*FUNCTIONS, FORMAT):
            self._tsp.set(text)
        for channel, setup in setups.items():
            for text in messages(channel, plans[channel]):
                self._tsp.set(text)
            self._steps.setups[channel] = setup
            self._steps.apertures.pop(channel, None)
        self._ready = False
        self._tsp.set(self._steps.colds)
        self._compare({channel: [(s.attribute, s.value) for s in plan] for channel, plan in plans.items()})

    def output(self, channels: Iterable[str]) -> None:
        """Switch outputs on at 0 V behind the cold limit; limits, ranges, level verified before, output after."""
        wanted = list(channels)
        for channel in wanted:
            if channel not in self._steps.setups:
                raise InstrumentError(f"{self.name}.{channel} has not been set up; its output stays off")
        self._compare(
            {
                channel: [
                    ("source.levelv", 0.0),
                    ("source.limiti", self._steps.setups[channel].cold_limit),
                    ("measure.rangei", self._steps.range_i(self._steps.setups[channel].cold_limit)),
                    ("source.rangev", self._steps.range_v(self._steps.setups[channel].range_v)),
                ]
                for channel in wanted
            }
        )
        for channel in wanted:
            self._tsp.set(f"{channel}.source.output=1")
            if self._tsp.numbers(f"{channel}.source.output", 1) != [1.0]:
                raise InstrumentError(
                    f"{self.name}.{channel} did not switch on; look at its interlock and output-enable line"
                )

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Run `steps` in order inside the instrument, in one round trip; return a sample per `Watch` and `Measure`.

        Begins and ends with every channel that was set up at 0 V behind its cold limit, also if it fails or exceeds its
        time by the instrument's timer; ramping down before the end is left to the steps. Output and level stand beside
        each reading, and of every channel at the end.

        Raises:
            NotDriven: an output was off, or at another level than was set, or a step was not carried out.
            InstrumentError: a level or limit beyond the setup of its channel (nothing sent), or the script failed.
        """
        return self._run(steps, {})

    def _run(self, steps: Sequence[Step], before: Mapping[str, Volt]) -> list[Sample]:
        """Run `steps` as `run` does, from the levels `before` in V."""
        if not steps:
            return []
        for step in steps:
            self._steps.check(step)
        lines, seconds = self._steps.compile(steps)
        return self._samples(steps, self._script(lines, seconds, levels_after(steps, before)), before)

    def _samples(self, steps: Sequence[Step], printed: Sequence[str], before: Mapping[str, Volt]) -> list[Sample]:
        """Return the samples of steps that began at the levels `before`, V, by the texts that a script has printed."""
        readings = [step for step in steps if isinstance(step, Watch | Measure)]
        if len(printed) != len(readings):
            raise InstrumentError(f"{self.name}: {len(readings)} readings expected, {len(printed)} came; {CHECK}")
        samples, levels, texts = [], dict(before), iter(printed)
        for step in steps:
            match step:
                case Level(channel, volts) | Ramp(channel, volts, _):
                    levels[channel] = volts
                case Watch(channel) | Measure(channel, _):
                    where = f"{self.name}.{channel}"
                    samples.append(sample_in(step, driven(where, next(texts), levels.get(channel, 0.0)), where))
        return samples

    def _script(self, lines: Sequence[str], seconds: Second, levels: Mapping[str, Volt]) -> list[str]:
        """Run `lines` as the body of a script that has `seconds` by the instrument's timer and ends cold.

        Args:
            levels: of the channels that it drives, at the end of `lines`, V.

        Returns:
            The texts of its readings.

        Raises:
            NotDriven: a channel of `levels` was off at the end of `lines`, or at another level, or a step is missing.
        """
        body = [f"mtj_run({number(seconds)},function(r)", *lines, "end)"]
        try:
            printed = self._tsp.script(body, wait=Wait.MEASURE, extra=seconds + SLACK)
        except BaseException:
            self._steps.apertures.clear()  # which of its apertures were set is unknown
            raise
        return self._proved(printed, levels, sum(line.startswith(COUNTED_STEPS) for line in lines))

    def _proved(self, printed: Sequence[str], levels: Mapping[str, Volt], steps: int) -> list[str]:
        """Return the texts of the readings of a script.

        What it `printed` ends with the state of every channel set up, and the number of its `steps` that were counted.

        Raises:
            NotDriven: a channel of `levels`, V, was off or at another level, or a step was not carried out.
        """
        readings = len(printed) - len(self._steps.setups) - 1
        if readings < 0:
            raise InstrumentError(
                f"{self.name}: the states of {len(self._steps.setups)} channels expected, got {printed}; {CHECK}"
            )
        for channel, line in zip(self._steps.setups, printed[readings:-1], strict=True):
            if channel in levels:
                driven(f"{self.name}.{channel}", line, levels[channel])
        done = numbers_in(printed[-1], 1, self.name, "number of steps")[0]
        if done != steps:
            raise NotDriven(
                f"{self.name}: a script of {steps} steps has carried out {done:g}; nothing of it is accepted. {LISTEN}"
            )
        return list(printed[:readings])

    def emergency_off(self) -> dict[str, ChannelState]:
        """Abort, 0 V and off on every channel that the instrument has, on a fresh connection; then verify it.

        The state before is saved inside the instrument, without a query. The commands go to both channels of the
        family: the model is read later.

        Returns:
            State of each channel before, as far as the instrument reports it.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or is not verified off.
        """
        lines = []
        for channel in CHANNELS:
            lines += [
                f"mtj_{channel}=nil if {channel} then local s={channel}.source mtj_{channel}={{{_PRESENT}}} end",
                *(f"if {channel} then {channel}.source.{setting}=0 end" for setting in ("levelv", "leveli", "output")),
            ]
        now = [f"{channel} and {channel}.source" for channel in CHANNELS]
        values = [as_text(*_PRESENT.split(","), source=source) for source in now]
        saved = [f"s[{k}]" for k in range(1, 1 + len(STATE))]
        values += [as_text(*saved, source=f"mtj_{channel}") for channel in CHANNELS]
        fields = self._tsp.cut_in(lines, ",".join(values))
        if len(fields) != len(values):
            raise InstrumentError(
                f"{self.name}: '{' '.join(fields)}' answers where {len(values)} states were expected. {LISTEN}"
            )
        channels = [*CHANNELS, *CHANNELS]
        states = [state_of(field, f"{self.name}.{part}") for field, part in zip(fields, channels, strict=True)]
        for channel, state in zip(CHANNELS, states, strict=False):
            if state is not None:
                self._refuse_unless_off(channel, state)
        with contextlib.suppress(LabError):
            self._tsp.errors()  # of the aborted script
        before = zip(CHANNELS, states[len(CHANNELS) :], strict=True)
        return {channel: state for channel, state in before if state is not None}

    def off(self, rate: float | None = None) -> None:
        """Abort, go to 0 V (ramped from the present level at `rate` V/s if given), switch off, read back.

        Every channel is tried, even if another fails; but a link that does not answer is given up at once, for
        `emergency_off`, while other sources may be on. InstrumentError if one is not verified off.
        """
        failures: list[str] = []
        with noting(failures):
            self._tsp.transport.write("abort")
            self._tsp.errors()
        for channel in self._data.channels:
            with noting(failures):
                if rate and self._tsp.numbers(f"{channel}.source.output", 1) != [0.0]:
                    seconds = 2 * max(self._data.ranges_v) / rate
                    with contextlib.suppress(Refused):
                        ramp = f"mtj_ramp({channel},{number(rate * RAMP_STEP)},{number(seconds)})"
                        self._tsp.script([RAMP, ramp], extra=seconds)
                for text in (f"{channel}.source.levelv=0", f"{channel}.source.leveli=0", f"{channel}.source.output=0"):
                    with contextlib.suppress(Refused):
                        self._tsp.set(text)
        try:
            self.verify_off()
        except LabError as error:
            raise InstrumentError("; ".join([str(error), *failures])) from error

    def warnings(self) -> list[str]:
        """Return the warnings that the instrument gave since the last call, each once in a session."""
        return self._tsp.warnings()

    def verify_off(self) -> None:
        """Read back that every output is off at 0 V; InstrumentError if one is not."""
        for channel, state in self.state().items():
            self._refuse_unless_off(channel, state)

    def _refuse_unless_off(self, channel: str, state: ChannelState) -> None:
        if state.output or not abs(state.level) <= 1e-6 or state.current:
            raise InstrumentError(
                f"{self.name}.{channel} is NOT verified off: output {'on' if state.output else 'off'}, "
                f"level {state.forced}; it needs a person: go there and switch it off"
            )

    def close(self) -> None:
        """Leave channels that this session set up in the session's off state, and close the connection."""
        try:
            if self._steps.setups:
                self.verify_off()
                self._steps.forget_joined()
                for channel in self._steps.setups:
                    self._tsp.set(f"{channel}.source.offmode={channel}.OUTPUT_{OFF_MODE[self._session_off][0]}")
                self._steps.setups.clear()
        finally:
            self._tsp.transport.close()

    def _settings(self, channel: str, setup: ChannelSetup) -> list[Setting]:
        """Return the settings of a channel; BenchError for what this model cannot take."""
        if channel not in self._data.channels:
            raise BenchError(f"{self.name} is a {self._model} and has no channel '{channel}'")
        if not 0 < setup.cold_limit <= setup.limit:
            raise BenchError(
                f"{self.name}.{channel}: a cold limit of {setup.cold_limit:.6g} A, and a current limit of "
                f"{setup.limit:.6g} A; it is above 0 A and at most that"
            )
        self._steps.range_i(setup.range_i)
        ranges = self._steps.range_v(setup.range_v), self._steps.range_i(setup.cold_limit)
        lowest = self._data.ranges_v[0], self._data.ranges_i[0]
        return settings(channel, setup, ranges, lowest, output_enable=self._output_enable)

    def _compare(self, wanted: Mapping[str, Sequence[tuple[str, float]]]) -> None:
        """Read attributes back; InstrumentError at the first that differs from its setting."""
        for channel, plan in wanted.items():
            values = self._read(channel, [attribute for attribute, _ in plan])
            for (attribute, expected), value in zip(plan, values, strict=True):
                if not _same(value, expected):
                    raise InstrumentError(
                        f"{self.name}.{channel}.{attribute} is {value:.6g} after {expected:.6g} was set; "
                        f"the output stays off; {CHECK}"
                    )

    def _read(self, channel: str, attributes: Sequence[str]) -> list[float]:
        """Return the numbers of some attributes of a channel, in messages of bounded length."""
        values: list[float] = []
        for begin in range(0, len(attributes), AT_ONCE):
            piece = attributes[begin : begin + AT_ONCE]
            values += self._tsp.numbers(",".join(f"{channel}.{name}" for name in piece), len(piece))
        return values

    def _refuse_if_on(self, channels: Iterable[str]) -> None:
        states = self.state()
        for channel in channels:
            if states[channel].output:
                raise InstrumentError(
                    f"{self.name}.{channel} is on at {states[channel].forced}; it is set up with its output off; "
                    f"{CHECK}"
                )


def _capabilities(model: str, line_frequency: float = LINE_FREQUENCY) -> SourceCapabilities:
    """Return the capabilities of a model on a mains frequency, Hz."""
    data, cycle = MODELS[model], 1 / line_frequency
    apertures = (1e-3 * cycle, LONGEST_APERTURE * cycle)
    return SourceCapabilities(
        model, data.channels, data.ranges_v, data.ranges_i, SHORTEST_PULSE, apertures, stands=False, script=SIZE
    )


def _make(name: str, options: Keithley2600BOptions, transport: Transport) -> Keithley2600B:
    """Return the driver of a Keithley 2600B."""
    return Keithley2600B(
        transport,
        name,
        model=options.model,
        output_enable=options.output_enable,
        session_off=options.session_off,
    )


DRIVER = Driver(
    DriverKind.SOURCE,
    _make,
    Keithley2600BOptions,
    capabilities=lambda options: _capabilities(options.model),
    emulator="keithley2600b",
    dead_socket=5030,
    node=lambda options: options.tsplink,
)


def _listed(present: Mapping[str, float]) -> str:
    """Return attributes with their values as text."""
    return ", ".join(f"{name} {value:.6g}" for name, value in present.items())


def _same(value: float, expected: float) -> bool:
    """Return whether a setting that was read back is the one that was sent."""
    return math.isclose(value, expected, rel_tol=TOLERANCE, abs_tol=1e-12)
