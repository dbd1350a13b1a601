"""Needles that their prober cleans where the bench file asks for it: by the count of touches, and if contact fails.

Cleaning is a motion as any other: in the state of landing, with every output verified off, from a verified separation,
and it ends separated. It leaves the die, so a step follows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from instruments.chuck_temperature import ThermoOptions, beyond
from instruments.sentio_loader import LoaderOptions
from instruments.touches import Landing
from labctl.core.errors import ContactError
from labctl.core.model import Model
from labctl.core.prober import Cleaning, Heating, Loading, Position, Prober
from labctl.core.units import Kelvin, Second

BAD_CONTACT = "no contact"
"""Why needles were cleaned, of those whose contact failed."""


class CleaningOptions(Model):
    """Options of a station that cleans its needles."""

    clean_every: int = Field(
        default=0,
        ge=0,
        description="touches of one connection after which needles are cleaned before the next die; 0: never",
    )
    clean_on_bad_contact: bool = Field(
        default=False, description="clean the needles, once a die, when its contact fails, before they touch again"
    )
    clean_touchdowns: int = Field(
        default=0,
        ge=0,
        le=100,
        description="touches of one cleaning on the cleaning substrate; 0: as the station has it",
    )
    cleaning_time: Second | None = Field(
        default=None, gt=0, description="[?] of one cleaning, for the plan; left out: it is not counted"
    )


@dataclass(frozen=True)
class BesideThePlan:
    """What a prober does beside the bench time of a plan.

    Args:
        text: in words, with what is not counted.
        seconds: what is counted, s.
    """

    text: str
    seconds: Second = 0.0


def beside_the_plan(options: object, temperature: Kelvin | None, loads: bool, dies: int) -> list[BesideThePlan]:
    """Return what the prober of an entry does beside the bench time, counted where the bench file has its time.

    Args:
        options: of the instrument's entry.
        temperature: the campaign's; None where it says none. loads: the campaign says the slot of a wafer.
        dies: how often needles touch at least.
    """
    parts: list[BesideThePlan] = []
    if loads and isinstance(options, LoaderOptions) and options.cassette is not None:
        text = f"a wafer is loaded{' and aligned' if options.align_wafer else ''}"
        if options.loading_time is None:
            parts.append(BesideThePlan(f"{text}, not counted, {options.loading_patience:g} s at most each"))
        else:
            parts.append(BesideThePlan(f"{text}, {options.loading_time:g} s", options.loading_time))
    if temperature is not None and isinstance(options, ThermoOptions) and options.hottest is not None:
        text, soak = f"the chuck comes to {temperature:g} K", f"{options.soak:g} s of soak"
        if options.heating_time is None:
            longest = f"not counted, {options.heating_patience:g} s at most"
            parts.append(BesideThePlan(f"{text}, {longest}, and {soak}", options.soak))
        else:
            parts.append(
                BesideThePlan(f"{text}, {options.heating_time:g} s and {soak}", options.heating_time + options.soak)
            )
    if isinstance(options, CleaningOptions) and options.clean_every and (number := (dies - 1) // options.clean_every):
        text = f"needles are cleaned {number} times at least"
        if options.cleaning_time is None:
            parts.append(BesideThePlan(f"{text}, not counted"))
        else:
            parts.append(BesideThePlan(f"{text}, {options.cleaning_time:g} s each", number * options.cleaning_time))
    return parts


def out_of_bounds(name: str, target: Kelvin, options: object) -> str:
    """Return why the chuck of an instrument cannot be set to the campaign's temperature; empty if it can, or if the
    bench file has it set to none.

    Args:
        options: of the instrument's entry.
    """
    if not isinstance(options, ThermoOptions) or options.hottest is None:
        return ""
    text = beyond(target, options)
    return text and f"{name}: {text}"


def loaded(landing: Landing, prober: Prober, wafer: str, slot: int, ask: Callable[[str], bool]) -> dict[str, Any]:
    """Have a wafer on the chuck, aligned, by the prober or by a person; return what is recorded of it.

    Args:
        ask: asks the operator; True if the answer is yes.

    Raises:
        ContactError: nobody says that it is there.
        InstrumentError: the prober has another wafer, or refuses.
    """
    landing.land()
    met = prober.load_wafer(slot, wafer) if isinstance(prober, Loading) else None
    if met is not None:
        return {"name": wafer, "slot": met.slot, "id": met.id, "aligned": met.aligned, "by": "loaded by the prober"}
    prober.separate()
    text = f"Put wafer {wafer} of slot {slot} on the chuck of {prober.name}, and align it. Is it there, and aligned?"
    if not ask(text):
        raise ContactError(f"{prober.name}: wafer {wafer} of slot {slot} was asked for, and nobody says it is there")
    return {"name": wafer, "slot": slot, "by": "put there by a person"}


def held(
    landing: Landing, prober: Prober, target: Kelvin | None, wait: Callable[[Second], None], go_on: Callable[[], None]
) -> dict[str, Kelvin]:
    """Have the chuck at a temperature before a die, where the bench file has it set; return what is recorded of it.

    Args:
        target: None where nobody says it.
        wait: waits for a time, s. go_on: raises when the bench is switched off.

    Raises:
        InstrumentError: the prober has no such chuck, refuses, or does not settle.
    """
    if target is None or not isinstance(prober, Heating) or not prober.heating_patience:
        return {}
    landing.land()
    return {"chuck_temperature": prober.hold_temperature(target, wait, go_on)}


def arrive(landing: Landing, prober: Prober, at: Sequence[Any], reasons: list[str]) -> Position:
    """Be at a die, separated, with needles that are cleaned before where that is due.

    Args:
        at: column, row and perhaps a subsite.
        reasons: why they were cleaned for this die; one is added for each time.

    Raises:
        InstrumentError: the prober refuses, or is not where it was told to be.
    """
    landing.land()
    if isinstance(prober, Cleaning) and (reason := prober.cleaning_due()):
        prober.clean()
        reasons.append(reason)
    return prober.step(*at)


def clean_for_contact(landing: Landing, prober: Prober, at: Sequence[Any], reasons: list[str]) -> None:
    """Clean the needles of a die whose contact has failed, once, where that is asked for; be at the die again.

    The needles are up. Arguments as of `arrive`.

    Raises:
        InstrumentError: the prober refuses, or is not where it was told to be.
    """
    if not isinstance(prober, Cleaning) or not prober.cleans_bad_contact or BAD_CONTACT in reasons:
        return
    landing.land()
    prober.clean()
    reasons.append(BAD_CONTACT)
    prober.step(*at)
