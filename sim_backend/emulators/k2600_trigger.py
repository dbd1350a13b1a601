"""`smuX.trigger` of a 2600B: the objects through which sweeps are configured (`k2600_sweep` runs them)."""

from collections.abc import Callable, Mapping
from typing import Any

from sim_backend.emulators.k2600_sweep import SweptChannel
from sim_backend.emulators.tsp.vm import Refusal, number


def trigger_node(channel: SweptChannel) -> Any:
    """Return `smuX.trigger` of a channel."""
    lua = channel.instrument.lua
    base = 16 * (1 + "ab".index(channel.name[-1]))
    events = (
        "SWEEPING",
        "ARMED",
        "SOURCE_COMPLETE",
        "MEASURE_COMPLETE",
        "PULSE_COMPLETE",
        "SWEEP_COMPLETE",
        "IDLE",
    )
    ids: dict[str | int, Any] = {f"{event}_EVENT_ID": base + i for i, event in enumerate(events)}

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

    sources: dict[str | int, Any] = {"set": lambda *_: None}
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
    measures: dict[str | int, Any] = {"set": lambda *_: None}
    for names in ("v", "i", "r", "p", "iv"):
        measures[names] = lambda *b, q=names: setattr(
            channel.sweep, "buffers", tuple((x, channel.buffer(t)) for x, t in zip(q, b, strict=True))
        )
    count = plain("count", 1)
    return lua.node(
        "smu_trigger",
        get={"count": count["get"]},
        set={"count": count["set"]},
        objects={
            **ids,
            "initiate": channel.initiate,
            "autoclear": 0,
            "arm": group("smu_trigger_arm", {"count": "arm_count", "stimulus": "arm_stimulus"}),
            "source": source,
            "measure": group("smu_trigger_measure", {"action": "measure_action", "stimulus": "measure_stimulus"},
                             measures),
            "endpulse": group("smu_trigger_endpulse",
                              {"action": "endpulse_action", "stimulus": "endpulse_stimulus"}),
            "endsweep": group("smu_trigger_endsweep", {"action": "endsweep_action"}),
        },
    )  # fmt: skip
