"""`smuX.trigger`, `trigger` and `display.trigger` of a 2600B: the objects through which sweeps are configured.

`k2600_sweep` runs the sweeps, `k2600_events` has the events.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sim_backend.emulators.k2600_events import (
    BLENDER_EVENTS,
    COMMAND_EVENT,
    INPUTS,
    KEY_EVENT,
    MOST_COUNT,
    MOST_EVENT,
    SWEEP_EVENTS,
    TIMER_EVENTS,
    Blender,
    Detector,
    Events,
    Timer,
)
from sim_backend.emulators.k2600_sweep import DETECTORS, EVENTS, SweptChannel
from sim_backend.emulators.tsp.vm import Lua, Refusal, number, truth, whole


class Triggers(Protocol):
    """What drives the sweeps, as the trigger objects see it."""

    events: Events

    def press(self) -> None:
        """Press the TRIG key."""
        ...

    def wait(self, detector: Detector, timeout: Any) -> bool:
        """Let time pass until a detector has an event; return whether it has."""
        ...


def sweep_event(channel: str, event: str) -> int:
    """Return the number of an event of a channel."""
    return SWEEP_EVENTS * (1 + "ab".index(channel[-1])) + EVENTS.index(event)


def trigger_node(channel: SweptChannel) -> Any:
    """Return `smuX.trigger` of a channel."""
    lua = channel.instrument.lua
    ids: dict[str | int, Any] = {f"{event}_EVENT_ID": sweep_event(channel.name, event) for event in EVENTS}

    def plain(name: str, low: float = 0, high: float = 1e9) -> dict[str, Any]:
        def write(value: Any) -> None:
            wanted = number(value)
            if not low <= wanted <= high:
                raise Refusal(1101, "Parameter too big") if wanted > high else Refusal(1102, "Parameter too small")
            setattr(channel.sweep, name, int(wanted))

        return {"get": lambda: getattr(channel.sweep, name), "set": write}

    def group(kind: str, names: Mapping[str, str], objects: dict[str | int, Any] | None = None) -> Any:
        parts = {name: plain(field) for name, field in names.items()}
        return lua.node(
            kind,
            get={n: p["get"] for n, p in parts.items()},
            set={n: p["set"] for n, p in parts.items()},
            objects=objects,
        )

    def limit(name: str) -> Callable[[Any], None]:
        def write(value: Any) -> None:
            channel.smu.check(name, number(value))
            setattr(channel.sweep, name, number(value))

        return write

    setters = {layer: lambda *_, at=layer: channel.detect(at) for layer in DETECTORS}
    sources: dict[str | int, Any] = {"set": setters["source"]}
    for axis, quantity in (("v", 1), ("i", 0)):
        sources[f"linear{axis}"] = lambda a, b, n, q=quantity: channel.sweep.linear(q, number(a), number(b), number(n))
        sources[f"log{axis}"] = lambda a, b, n, o=0, q=quantity: channel.sweep.log(
            q, number(a), number(b), number(n), number(o)
        )
        sources[f"list{axis}"] = lambda t, q=quantity: channel.sweep.listed(q, channel.instrument.lua.numbers(t))
    action, stimulus = plain("source_action", 0, 1), plain("source_stimulus")
    source = lua.node(
        "smu_trigger_source",
        get={"action": action["get"], "stimulus": stimulus["get"], "limiti": lambda: channel.sweep.limiti,
             "limitv": lambda: channel.sweep.limitv},
        set={"action": action["set"], "stimulus": stimulus["set"], "limiti": limit("limiti"),
             "limitv": limit("limitv")},
        objects=sources,
    )  # fmt: skip
    measures: dict[str | int, Any] = {"set": setters["measure"]}
    for names in ("v", "i", "r", "p", "iv"):
        measures[names] = lambda *b, q=names: setattr(
            channel.sweep, "buffers", tuple((x, channel.buffer(t)) for x, t in zip(q, b, strict=True))
        )
    count, autoclear = plain("count", 1), plain("autoclear", 0, 1)
    return lua.node(
        "smu_trigger",
        get={"count": count["get"], "autoclear": autoclear["get"]},
        set={"count": count["set"], "autoclear": autoclear["set"]},
        objects={
            **ids,
            "initiate": channel.initiate,
            "arm": group("smu_trigger_arm", {"count": "arm_count", "stimulus": "arm_stimulus"},
                         {"set": setters["arm"]}),
            "source": source,
            "measure": group("smu_trigger_measure", {"action": "measure_action", "stimulus": "measure_stimulus"},
                             measures),
            "endpulse": group("smu_trigger_endpulse",
                              {"action": "endpulse_action", "stimulus": "endpulse_stimulus"},
                              {"set": setters["endpulse"]}),
            "endsweep": group("smu_trigger_endsweep", {"action": "endsweep_action"}),
        },
    )  # fmt: skip


def common_triggers(lua: Lua, engine: Triggers) -> tuple[Any, Any]:
    """Return `trigger`, with the timers and blenders, and `display.trigger`."""
    events = engine.events

    def wait(detector: Detector) -> Callable[..., bool]:
        return lambda timeout, *_: engine.wait(detector, timeout)

    def wait_for_key(timeout: Any, *_: Any) -> bool:
        if not events.key.detected:
            engine.press()
        return engine.wait(events.key, timeout)

    timers: dict[str | int, Any] = {k: _timer(lua, k, timer, wait) for k, timer in events.timers.items()}
    blenders: dict[str | int, Any] = {k: _blender(lua, k, blender, wait) for k, blender in events.blenders.items()}
    common = lua.node(
        "trigger",
        objects={
            "EVENT_ID": COMMAND_EVENT,
            "clear": lambda *_: events.command.clear(),
            "wait": wait(events.command),
            "timer": lua.node("trigger_timers", objects=timers),
            "blender": lua.node("trigger_blenders", objects=blenders),
        },
    )
    key = lua.node(
        "display_trigger",
        get={"overrun": lambda: events.key.overrun},
        objects={"EVENT_ID": KEY_EVENT, "clear": lambda *_: events.key.clear(), "wait": wait_for_key},
    )
    return common, key


def _timer(lua: Lua, k: int, timer: Timer, wait: Callable[[Detector], Any]) -> Any:
    return lua.node(
        "trigger_timer",
        get={
            "count": lambda: timer.count,
            "delay": lambda: timer.delays[0],
            "delaylist": lambda: lua.table(dict(enumerate(timer.delays, 1))),
            "passthrough": lambda: timer.passthrough,
            "stimulus": lambda: timer.stimulus,
            "overrun": lambda: timer.detector.overrun,
        },
        set={
            "count": lambda value: setattr(timer, "count", whole(value, MOST_COUNT)),
            "delay": lambda value: timer.set_delays([number(value)]),
            "delaylist": lambda value: timer.set_delays(lua.numbers(value)),
            "passthrough": lambda value: setattr(timer, "passthrough", truth(value)),
            "stimulus": lambda value: setattr(timer, "stimulus", whole(value, MOST_EVENT)),
        },
        objects={
            "EVENT_ID": TIMER_EVENTS + k,
            "reset": lambda *_: timer.reset(),
            "clear": lambda *_: timer.detector.clear(),
            "wait": wait(timer.detector),
        },
    )


def _blender(lua: Lua, k: int, blender: Blender, wait: Callable[[Detector], Any]) -> Any:
    def put(at: int) -> Callable[[Any], None]:
        return lambda value: blender.stimuli.__setitem__(at, whole(value, MOST_EVENT))

    inputs: dict[str | int, Callable[..., Any]] = {n + 1: lambda n=n: blender.stimuli[n] for n in range(INPUTS)}
    return lua.node(
        "trigger_blender",
        get={"orenable": lambda: blender.orenable, "overrun": lambda: blender.detector.overrun},
        set={"orenable": lambda value: setattr(blender, "orenable", truth(value))},
        objects={
            "EVENT_ID": BLENDER_EVENTS + k,
            "stimulus": lua.node("trigger_stimulus", get=inputs, set={n + 1: put(n) for n in range(INPUTS)}),
            "reset": lambda *_: blender.reset(),
            "clear": lambda *_: blender.clear(),
            "wait": wait(blender.detector),
        },
    )
