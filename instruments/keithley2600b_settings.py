"""Settings of a channel of a 2600B: what is set before its output goes on, and compared with what is read back.

The table has every attribute that changes a reading of a channel that forces a voltage, or a time. What an earlier
user left is reset first; each is set all the same, because the defaults are those of the manual.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from instruments.tsp import number
from labctl.core.source import ChannelSetup, OffState
from labctl.core.units import Ampere, Volt

OFF_MODE = {OffState.NORMAL: ("NORMAL", 0), OffState.ZERO: ("ZERO", 1), OffState.HIGH_Z: ("HIGH_Z", 2)}

FORMAT = "format.asciiprecision=6 format.data=format.ASCII format.byteorder=format.LITTLEENDIAN"
"""Number formats of the instrument, as after a reset; nothing that is read here depends on them."""

NEUTRAL: Mapping[str, float] = {
    "source.leveli": 0,
    "source.delay": 0,
    "source.settling": 0,
    "source.highc": 0,
    "source.sink": 0,
    "measure.nplc": 1,
    "measure.autozero": 2,
    "measure.count": 1,
    "measure.interval": 0,
    "measure.delay": 0,
    "measure.delayfactor": 1,
    "measure.filter.enable": 0,
    "measure.filter.count": 1,
    "measure.filter.type": 1,
    "measure.rel.enablev": 0,
    "measure.rel.enablei": 0,
    "measure.rel.levelv": 0,
    "measure.rel.leveli": 0,
}
"""Attributes with one value in use, which is also that after a reset, but for the delay of the low-current models."""


@dataclass(frozen=True)
class Setting:
    """One attribute of a channel: the text that sets it, and the number that is read back."""

    attribute: str
    text: str
    value: float


def settings(
    channel: str, setup: ChannelSetup, ranges: tuple[Volt, Ampere], lowest: tuple[Volt, Ampere], *, output_enable: bool
) -> list[Setting]:
    """Return the settings of a channel, ordered so that none conflicts with one before it.

    Args:
        ranges: source range, V, and measure range of the cold limit, A.
        lowest: lowest ranges of the model, V and A.
        output_enable: the output-enable line is to switch the output off; elsewhere that is not chosen.
    """
    mode, code = OFF_MODE[setup.off_state]
    remote = "REMOTE" if setup.remote_sense else "LOCAL"
    (range_v, range_i), (low_v, low_i) = ranges, lowest
    enable = [Setting("source.outputenableaction", f"{channel}.OE_OUTPUT_OFF", 1.0)] if output_enable else []
    return [
        Setting("source.offmode", f"{channel}.OUTPUT_{mode}", float(code)),
        Setting("source.offfunc", f"{channel}.OUTPUT_DCVOLTS", 1.0),
        _plain("source.offlimiti", setup.off_limit),
        Setting("source.func", f"{channel}.OUTPUT_DCVOLTS", 1.0),
        _plain("source.levelv", 0.0),
        *enable,
        Setting("sense", f"{channel}.SENSE_{remote}", float(setup.remote_sense)),
        *(_plain(name, low) for name, low in (("source.lowrangev", low_v), ("measure.lowrangev", low_v))),
        _plain("measure.lowrangei", low_i),
        Setting("source.autorangev", f"{channel}.AUTORANGE_OFF", 0.0),
        _plain("source.rangev", range_v),
        Setting("measure.autorangev", f"{channel}.AUTORANGE_OFF", 0.0),
        _plain("measure.rangev", range_v),
        Setting("measure.autorangei", f"{channel}.AUTORANGE_OFF", 0.0),
        _plain("measure.rangei", range_i),
        _plain("source.limiti", setup.cold_limit),
        *(_plain(name, value) for name, value in NEUTRAL.items()),
    ]


def messages(channel: str, plan: list[Setting]) -> Iterator[str]:
    """Yield the messages that reset a channel, whose output is off, and set it; those with one value in use together.

    The other settings go one by one, so that a refusal names the one that was refused.
    """
    yield f"{channel}.reset()"
    for setting in plan:
        if setting.attribute not in NEUTRAL:
            yield f"{channel}.{setting.attribute}={setting.text}"
    for part in ("source", "measure"):
        names = [setting for setting in plan if setting.attribute in NEUTRAL and setting.attribute.startswith(part)]
        yield " ".join(f"{channel}.{setting.attribute}={setting.text}" for setting in names)


def _plain(attribute: str, value: float) -> Setting:
    """Return a setting whose text is its number."""
    return Setting(attribute, f"{value:g}" if value == int(value) else number(value), float(value))
