"""Values of a 2600B after a reset: every attribute that a user can set, so that what was left there can be listed.

Defaults of the Series 2600B reference manual (2600BS-901-01). Those of a channel have what
`keithley2600b_settings` sets, and more; a test holds both against the attributes of the emulated instrument.
"""

import math
import re
from collections.abc import Mapping, Sequence

from instruments.keithley2600b_models import MODELS
from instruments.keithley2600b_settings import NEUTRAL
from labctl.core.errors import InstrumentError

LEAST_SOURCED = 1e-9
"""Lowest current range that is sourced, A; that of 100 pA measures only."""

RANGES: Mapping[str, str] = {
    "source.rangev": "source.autorangev",
    "source.rangei": "source.autorangei",
    "measure.rangev": "measure.autorangev",
    "measure.rangei": "measure.autorangei",
}
"""Ranges, which anybody has chosen only where their automatic choice is off."""

_TRIGGERS: Mapping[str, float] = {
    **{f"trigger.{name}": 1 for name in ("count", "arm.count", "endpulse.action")},
    **{f"trigger.{layer}.stimulus": 0 for layer in ("arm", "source", "measure", "endpulse")},
    **{f"trigger.{name}.action": 0 for name in ("source", "measure", "endsweep")},
    **{f"trigger.source.{name}": 0 for name in ("limitv", "limiti")},
    "trigger.autoclear": 0,
}
_BUFFERS: Mapping[str, float] = {
    f"nvbuffer{k}.{name}": 0 for k in (1, 2) for name in ("appendmode", "collectsourcevalues", "collecttimestamps")
}

SET_ANEW: Mapping[str, float] = {
    "format.asciiprecision": 6,
    "format.data": 1,
    "format.byteorder": 1,
}
"""Attributes of the instrument that are set before a channel is used."""

LEFT_ALONE: Mapping[str, float] = {
    **{f"trigger.timer.{k}.{name}": 0 for k in range(1, 9) for name in ("passthrough", "stimulus")},
    **{f"trigger.timer.{k}.count": 1 for k in range(1, 9)},
    **{f"trigger.timer.{k}.delay": 10e-6 for k in range(1, 9)},
    **{f"trigger.timer.{k}.delaylist": 1 for k in range(1, 9)},
    **{f"trigger.blender.{k}.orenable": 0 for k in range(1, 7)},
    **{f"trigger.blender.{k}.stimulus.{n}": 0 for k in range(1, 7) for n in range(1, 5)},
    **{f"display.{name}": 0 for name in ("screen", "numpad", "locallockout")},
    "setup.poweron": 0,
}
"""Attributes of the instrument that change neither a reading nor a time, since no sweep is begun. Of a list of
delays it is their number."""

UNLISTED: Mapping[str, str] = {
    r"status\..*": "masks of events and of the service request, for which nothing here waits",
    r"digio\..*": "lines to other apparatus, which are a user's own and change neither a reading nor a time here",
    r"tsplink\.(node|group)": "of the cable; a script that does not reach its node ends before a pulse",
    r"localnode\.(prompts|showerrors)": "an instrument that sends lines unasked is refused when it is connected",
}
"""Attributes that are not listed, and why."""


def after_reset(model: str) -> dict[str, float]:
    """Return the value after a reset of each attribute of a channel of `model`, ranges left out.

    >>> after_reset("2602B")["source.limiti"], after_reset("2636B")["source.lowrangei"]
    (1.0, 1e-09)
    """
    data = MODELS[model]
    high = data.ranges_v[-1] > 100
    lowest = next(amps for amps in data.ranges_i if amps >= LEAST_SOURCED)
    return {
        **NEUTRAL,
        **{"source.func": 1, "source.levelv": 0, "source.offmode": 0, "source.offfunc": 1, "source.offlimiti": 1e-3},
        **{"source.limiti": 0.1 if high else 1.0, "source.limitv": 20 if high else 40},
        **{"source.offlimitv": 20 if high else 40, "source.outputenableaction": 0 if data.output_enable else 1},
        **{"source.lowrangev": data.ranges_v[0], "source.lowrangei": lowest},
        **{"measure.lowrangev": data.ranges_v[0], "measure.lowrangei": data.ranges_i[0]},
        **dict.fromkeys(RANGES.values(), 1),
        **_TRIGGERS,
        **_BUFFERS,
        **{"sense": 0, "contact.threshold": 50},
    }


def expression(attribute: str) -> str:
    """Return what is asked for to read an attribute.

    >>> expression("trigger.timer.3.delaylist"), expression("trigger.blender.1.stimulus.2")
    ('table.getn(trigger.timer[3].delaylist)', 'trigger.blender[1].stimulus[2]')
    """
    name = re.sub(r"\.(\d+)", r"[\1]", attribute)
    return f"table.getn({name})" if name.endswith("list") else name


def question(attributes: Sequence[str]) -> str:
    """Return the message that asks for attributes, one by one, so that one that the firmware lacks hides no other."""
    asked = ",".join(f"f(function() return {expression(name)} end)" for name in attributes)
    return f"local function f(g) local k,v=pcall(g) return k and tostring(v) or '-' end print({asked})"


def values_in(reply: str, count: int) -> list[float]:
    """Return the numbers of a reply to `question`: nil and false are 0, and what the firmware lacks is NaN.

    >>> values_in("1e-06\\tfalse\\tnil\\t-\\ttrue", 5)
    [1e-06, 0.0, 0.0, nan, 1.0]
    """
    words = {"nil": 0.0, "false": 0.0, "true": 1.0, "-": math.nan}
    fields = [field.strip() for field in reply.split("\t")]
    try:
        values = [words[field] if field in words else float(field) for field in fields]
    except ValueError as error:
        raise InstrumentError(f"'{reply}' answers where {count} settings were asked for") from error
    if len(values) != count:
        raise InstrumentError(f"'{reply}' answers where {count} settings were asked for")
    return values
