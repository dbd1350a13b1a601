"""One channel of a 2600B as Lua sees it: `smuX` with its source, measure, contact and trigger objects.

Names, constants and defaults: Series 2600B reference manual (2600BS-901-01), the commands chapter.
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Protocol

from sim_backend.emulators.k2600_buffer import Buffer
from sim_backend.emulators.k2600_events import Detector
from sim_backend.emulators.k2600_smu import AUTOZERO_AUTO, HIGH_Z_OFF, ON, VOLTS, Smu, SmuReading
from sim_backend.emulators.k2600_sweep import DETECTORS, Sweep
from sim_backend.emulators.k2600_trigger import trigger_node
from sim_backend.emulators.tsp.far import FarLua
from sim_backend.emulators.tsp.vm import Refusal, number

_CONSTANTS: dict[str | int, Any] = {
    "OUTPUT_DCAMPS": 0, "OUTPUT_DCVOLTS": 1, "OUTPUT_OFF": 0, "OUTPUT_ON": 1, "OUTPUT_HIGH_Z": 2,
    "OUTPUT_NORMAL": 0, "OUTPUT_ZERO": 1, "SENSE_LOCAL": 0, "SENSE_REMOTE": 1, "SENSE_CALA": 3,
    "AUTORANGE_OFF": 0, "AUTORANGE_ON": 1, "AUTORANGE_FOLLOW_LIMIT": 2,
    "AUTOZERO_OFF": 0, "AUTOZERO_ONCE": 1, "AUTOZERO_AUTO": 2, "DELAY_OFF": 0, "DELAY_AUTO": -1,
    "FILTER_MOVING_AVG": 0, "FILTER_REPEAT_AVG": 1, "FILTER_MEDIAN": 2, "FILTER_OFF": 0, "FILTER_ON": 1,
    "REL_OFF": 0, "REL_ON": 1, "ENABLE": 1, "DISABLE": 0, "ASYNC": 2, "OE_NONE": 0, "OE_OUTPUT_OFF": 1,
    "SETTLE_SMOOTH": 0, "SETTLE_FAST_RANGE": 1, "SETTLE_FAST_POLARITY": 2, "SETTLE_DIRECT_IRANGE": 3,
    "SETTLE_SMOOTH_100NA": 4, "SETTLE_FAST_ALL": 128, "SOURCE_IDLE": 0, "SOURCE_HOLD": 1,
    "SINK_MODE_ENABLE": 1, "SINK_MODE_DISABLE": 0, "CONTACT_FAST": 0, "CONTACT_MEDIUM": 1, "CONTACT_SLOW": 2,
}  # fmt: skip
_SETTLINGS = (0, 1, 2, 3, 4, 128)
_MAX_BUFFER = 200_000
_NVBUFFER = 60_000


class Host(Protocol):
    """The instrument of a channel, as the channel sees it."""

    lua: Any

    def gives(self, event: int) -> bool:
        """Return whether something in the instrument gives an event."""
        ...

    def start_sweep(self, channel: "Channel") -> None:
        """Start the sweep of a channel."""
        ...

    def sweep_on(self) -> None:
        """Go on with the sweeps as far as they come."""
        ...

    def abort(self, channel: "Channel") -> None:
        """End the sweep of a channel."""
        ...


class _Elsewhere:
    """The instrument of a channel for objects in another interpreter."""

    def __init__(self, instrument: Host, lua: Any) -> None:
        self._instrument, self.lua = instrument, lua

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instrument, name)


class Channel:
    """One `smuX` of the instrument, as Lua sees it."""

    def __init__(self, instrument: Host, name: str, smu: Smu) -> None:
        self.instrument, self.name, self.smu = instrument, name, smu
        self.sweep = Sweep()
        self.detectors = {layer: Detector() for layer in DETECTORS}
        self.waiting = False
        self.calibrated = {"date": 0.0, "due": 0.0}
        """Dates of its calibration, s since 1970 UTC; 0 is one that was never set."""
        lua = instrument.lua
        self.buffers = (Buffer(lua, _NVBUFFER), Buffer(lua, _NVBUFFER))
        self.node = self._node()

    def reset(self) -> None:
        """Go back to the defaults, output off."""
        self.smu.reset()
        self.instrument.abort(self)
        self.sweep = Sweep()
        for detector in self.detectors.values():
            detector.clear()
        for buffer in self.buffers:
            buffer.appendmode = buffer.collectsourcevalues = buffer.collecttimestamps = 0
            buffer.clear()

    def store(self, buffer: Buffer, quantity: str, reading: SmuReading) -> None:
        """Store one quantity of a reading in a buffer."""
        s = self.smu.set
        value = self._value(quantity, reading)
        source = s.levelv if s.func == VOLTS else s.leveli
        measured = s.measure_rangev if quantity == "v" else s.measure_rangei
        status = self.smu.status(reading, "v" if quantity == "v" else "i")
        buffer.add(value, source, reading.time, status, (measured, s.rangev if s.func == VOLTS else s.rangei))

    @staticmethod
    def _value(quantity: str, reading: SmuReading) -> float:
        if quantity == "v":
            return reading.volts
        if quantity == "i":
            return reading.amps
        if quantity == "p":
            return reading.volts * reading.amps
        return reading.volts / reading.amps if reading.amps else 9.91e37

    def measure(self, quantities: str, *targets: Any) -> tuple[float, ...]:
        """Take `count` readings of some quantities into buffers, if given; return the last one."""
        buffers = [self.buffer(t) for t in targets if t is not None]
        for buffer in buffers:
            buffer.begin()
        s, reading = self.smu.set, None
        for _ in range(s.count):
            began = self.smu.world.now
            reading = self.smu.convert(volts_too=bool(buffers) or quantities != "i")
            for quantity, buffer in zip(quantities, buffers, strict=False):
                self.store(buffer, quantity, reading)
            if s.interval > 0 and s.count > 1:
                self.smu.world.advance(max(s.interval - (self.smu.world.now - began), 0.0))
        assert reading is not None
        return tuple(self._value(q, reading) for q in quantities)

    def buffer(self, target: Any) -> Buffer:
        """Return the buffer behind a Lua value; Refusal 4903 if it is none."""
        buffer = self.instrument.lua.thing_of(target)
        if not isinstance(buffer, Buffer):
            raise Refusal(4903, "Reading buffer expired")
        return buffer

    # -- the tree

    def seen_from(self, far: FarLua) -> Any:
        """Return the channel as a script of another node sees it: without its reading buffers and triggers."""
        view = copy(self)
        view.instrument = _Elsewhere(self.instrument, far)
        return view._node(buffers=False)

    def _node(self, *, buffers: bool = True) -> Any:
        lua = self.instrument.lua
        measures: dict[str | int, Any] = {}
        for names in ("v", "i", "r", "p", "iv"):
            measures[names] = lambda *b, q=names: self.measure(q, *b)
            measures[f"overlapped{names}"] = lambda *b, q=names: self._overlapped(q, *b)
        objects: dict[str | int, Any] = {
            **_CONSTANTS,
            "reset": lambda *_: self.reset(),
            "abort": lambda *_: self.instrument.abort(self),
            "source": self._source_node(),
            "measure": self._measure_node(measures),
            "contact": self._contact_node(),
            "cal": lua.node(
                "smu_cal",
                get={name: lambda n=name: self.calibrated[n] for name in self.calibrated} | {"state": lambda: 0},
            ),
        }
        if buffers:
            objects |= {
                "makebuffer": self._make_buffer,
                "savebuffer": lambda *_: None,
                "nvbuffer1": self.buffers[0].node,
                "nvbuffer2": self.buffers[1].node,
                "trigger": trigger_node(self),
            }
        for names in ("v", "i", "r", "p", "iv"):
            objects[f"measure{names}andstep"] = lambda level, q=names: self._and_step(q, level)
        return lua.node("smu", **self._attributes({"sense": ("sense", (0, 1, 3))}), objects=objects, thing=self)

    def _attributes(self, names: Mapping[str, tuple[str, tuple[int, ...] | None]]) -> dict[str, Any]:
        """Return getters and setters: a name in Lua -> the setting, and the values allowed (None: the model checks)."""

        def setter(field: str, allowed: tuple[int, ...] | None) -> Callable[[Any], None]:
            def write(value: Any) -> None:
                wanted = number(value)
                if allowed is None:
                    self.smu.write(field, wanted)
                elif wanted not in allowed:
                    raise (
                        Refusal(1101, "Parameter too big")
                        if wanted > max(allowed)
                        else Refusal(1102, "Parameter too small")
                    )
                else:
                    setattr(self.smu.set, field, int(wanted))
                    self.smu.apply()

            return write

        return {
            "get": {name: self._reader(field) for name, (field, _) in names.items()},
            "set": {name: setter(field, allowed) for name, (field, allowed) in names.items()},
        }

    def _reader(self, field: str) -> Callable[[], Any]:
        """Return a getter of a setting."""
        return lambda: getattr(self.smu.set, field)

    def _floor(self, field: str, low: float, high: float) -> Callable[[Any], None]:
        """Return a setter of a number between two bounds."""

        def write(value: Any) -> None:
            wanted = number(value)
            if not low <= wanted <= high:
                raise Refusal(1101, "Parameter too big") if wanted > high else Refusal(1102, "Parameter too small")
            kind = type(getattr(self.smu.set, field))
            setattr(self.smu.set, field, kind(wanted))

        return write

    def _source_node(self) -> Any:
        s = self.smu
        fixed = s.model.output_enable_fixed
        names: dict[str, tuple[str, tuple[int, ...] | None]] = {
            name: (name, None)
            for name in ("levelv", "leveli", "limitv", "limiti", "rangev", "rangei", "offlimiti", "offlimitv")
        }
        names |= {
            "func": ("func", (0, 1)), "autorangev": ("autorangev", (0, 1)), "autorangei": ("autorangei", (0, 1)),
            "offmode": ("offmode", (0, 1, 2)), "offfunc": ("offfunc", (0, 1)), "highc": ("highc", (0, 1)),
            "sink": ("sink", (0, 1)), "settling": ("settling", _SETTLINGS),
            "outputenableaction": ("outputenableaction", (1,) if fixed else (0, 1)),
        }  # fmt: skip
        attributes = self._attributes(names)
        lowest = {"lowrangev": s.model.v_max, "lowrangei": s.model.i_max}
        attributes["get"] |= {
            "compliance": lambda: s.compliance,
            "output": lambda: s.set.output,
            "delay": lambda: s.set.source_delay,
            "outputenabled": lambda: s.enabled,
            **{name: self._reader(name) for name in lowest},
        }
        attributes["set"] |= {
            "output": self._switch,
            "delay": self._floor("source_delay", -1, 1e5),
            **{name: self._floor(name, 0.0, top) for name, top in lowest.items()},
        }
        return self.instrument.lua.node("smu_source", **attributes)

    def _switch(self, value: Any) -> None:
        wanted = number(value)
        if wanted not in (0, ON, HIGH_Z_OFF):
            raise Refusal(1101, "Parameter too big") if wanted > 2 else Refusal(1102, "Parameter too small")
        self.smu.switch(int(wanted))

    def _measure_node(self, functions: dict[str | int, Any]) -> Any:
        s, lua = self.smu, self.instrument.lua
        names: dict[str, tuple[str, tuple[int, ...] | None]] = {
            "rangev": ("measure_rangev", None), "rangei": ("measure_rangei", None), "nplc": ("nplc", None),
            "autorangev": ("measure_autorangev", (0, 1, 2)), "autorangei": ("measure_autorangei", (0, 1, 2)),
            "autozero": ("autozero", (0, 1, AUTOZERO_AUTO)),
        }  # fmt: skip
        made = self._attributes(names)
        bounded = {
            "delay": ("delay", -1.0, 1e5), "delayfactor": ("delayfactor", 0.0, 1e5),
            "count": ("count", 1, _MAX_BUFFER), "interval": ("interval", 0.0, 1.0),
            "lowrangev": ("measure_lowrangev", 0.0, s.model.v_max),
            "lowrangei": ("measure_lowrangei", 0.0, s.model.i_max),
        }  # fmt: skip
        made["get"] |= {name: self._reader(field) for name, (field, _, _) in bounded.items()}
        made["set"] |= {name: self._floor(field, low, high) for name, (field, low, high) in bounded.items()}
        taps = {"enable": ("filter_enable", 0, 1), "count": ("filter_count", 1, 100), "type": ("filter_type", 0, 2)}
        rel = {
            f"{what}{axis}": f"rel_{what}_{axis}".replace("enable_", "")
            for what in ("enable", "level")
            for axis in "vi"
        }
        top = s.model.v_max
        functions["rel"] = lua.node(
            "smu_rel",
            get={name: self._reader(field) for name, field in rel.items()},
            set={name: self._floor(f, *((0, 1) if "enable" in name else (-top, top))) for name, f in rel.items()},
        )
        functions["filter"] = lua.node(
            "smu_filter",
            get={name: self._reader(field) for name, (field, _, _) in taps.items()},
            set={name: self._floor(field, low, high) for name, (field, low, high) in taps.items()},
        )
        return lua.node("smu_measure", **made, objects=functions)

    def _overlapped(self, quantities: str, *targets: Any) -> None:
        if len([t for t in targets if t is not None]) < len(quantities):
            raise Refusal(1400, f"Expected at least {len(quantities)} parameters")
        self.measure(quantities, *targets)

    def _and_step(self, quantities: str, level: Any) -> tuple[float, ...]:
        values = self.measure(quantities)
        self.smu.write("levelv" if self.smu.set.func == VOLTS else "leveli", number(level))
        return values

    def _make_buffer(self, size: Any) -> Any:
        wanted = number(size)
        if not 1 <= wanted <= _MAX_BUFFER:
            raise Refusal(1101, "Parameter too big") if wanted > 1 else Refusal(1102, "Parameter too small")
        return Buffer(self.instrument.lua, int(wanted)).node

    def _contact_node(self) -> Any:
        def probe(*_: Any) -> tuple[float, float]:
            s = self.smu.set
            if not self.smu.model.contact_check:
                raise Refusal(1100, "Command unavailable")
            if s.output != ON and s.offmode == 2:
                raise Refusal(5048, "Contact check not valid with HIGH-Z OUTPUT off")
            if s.output == ON and s.func == VOLTS and s.limiti < 1e-3:
                raise Refusal(5065, "I limit too low for contact check")
            if s.output != ON and s.offlimiti < 1e-3:
                raise Refusal(5066, "source.offlimiti too low for contact check")
            self.smu.world.advance(4e-3)
            return 0.0, 0.0

        attributes = {"get": {"threshold": lambda: self.smu.set.threshold}, "set": {"threshold": self._threshold}}
        return self.instrument.lua.node(
            "smu_contact",
            **attributes,
            objects={"r": probe, "check": lambda *_: probe() is not None},
        )

    def _threshold(self, value: Any) -> None:
        self._floor("threshold", 0.0, 1e37)(value)

    def initiate(self, *_: Any) -> None:
        """Start the sweep; an event that nothing in the instrument gives is refused as a stimulus."""
        for stimulus in self.stimuli.values():
            if stimulus and not self.instrument.gives(stimulus):
                raise Refusal(-221, "Settings conflict")
        for detector in self.detectors.values():
            detector.clear()
        self.instrument.start_sweep(self)

    def detect(self, layer: str) -> None:
        """Set a detector as its event would."""
        self.detectors[layer].detect()
        self.instrument.sweep_on()

    def hear(self, event: int) -> None:
        """Set the detectors that an event is the stimulus of."""
        for layer, stimulus in self.stimuli.items():
            if event == stimulus:
                self.detectors[layer].detect()

    @property
    def stimuli(self) -> dict[str, int]:
        """Event of each detector, 0 if it waits for none."""
        return {layer: getattr(self.sweep, f"{layer}_stimulus") for layer in DETECTORS}
