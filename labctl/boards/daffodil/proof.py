"""What has to be so before anything that the board has read is accepted; each function raises Fault by name.

Converters are asked for the codes that they have, [?] and answers from the memory of its driver in Linux prove less.
Amplifiers are asked for their outputs while no line is connected, [?] which are their reference then.
"""

from typing import Dict, List, Sequence, Tuple

from . import registers as reg
from .hardware import Hardware
from .patterns import KEEP, bits
from .settings import Settings

STRAY = 200
"""Most codes that an amplifier at rest may be away from where it was when the board was set up."""

Place = Tuple[int, int]


class Fault(Exception):
    """The board is not as it was set."""


def settings_are_kept(hardware: Hardware, settings: Settings, places: Sequence[Place]) -> None:
    """Raise Fault for a converter that does not keep what was set."""
    kept = [
        (f"{name} of DAC {place}", value, hardware.read_dac(*place, name=name))
        for place in [*places, reg.REFERENCE]
        for name, value in (("calibscale", settings.m), ("calibbias", settings.c))
    ]
    kept.append(("the reference", settings.reference, hardware.read_dac(*reg.REFERENCE, name="raw")))
    kept += [
        (f"potentiometer of row {row}", code, hardware.read_pot(*reg.row_adc(row)))
        for row, code in enumerate(settings.pots)
    ]
    for what, wanted, got in kept:
        if got != wanted:
            raise Fault(f"{what} was set to {wanted}, and reads {got}")


class Proof:
    """That lines go where they are sent, and that amplifiers and their converters live, batch by batch.

    Args:
        hardware: the board, whose lines are at rest.
        settings: of the board.
        places: channel of each of 25 columns, 25 rows and 25 gates.
    """

    def __init__(self, hardware: Hardware, settings: Settings, places: Sequence[Place]) -> None:
        self._hardware = hardware
        self._rest = settings.at_rest
        self._places, self._rows = places, list(bits(settings.rows))
        self._converters = [reg.row_adc(row) for row in self._rows]
        self._moved: Dict[Place, int] = {}
        self._zeros = self._outputs()

    def begin(self) -> None:
        """Begin with another batch."""
        self._moved = {}

    def moved(self, codes: Sequence[int]) -> None:
        """Raise Fault if a channel that these codes move for the first time in the batch has another code.

        Nothing is connected yet.
        """
        for place, code, rest in zip(self._places, codes, self._rest):
            if code in (KEEP, rest) or place in self._moved:
                continue
            self._moved[place] = code
            got = self._hardware.read_dac(*place, name="raw")
            if got != code:
                raise Fault(f"DAC {place} was set to {code}, and reads {got}: its line is stuck")

    def at_rest(self) -> None:
        """Raise Fault if an amplifier at rest is not where it was: what it has read is worth nothing."""
        for row, zero, code in zip(self._rows, self._zeros, self._outputs()):
            if abs(code - zero) > STRAY:
                raise Fault(
                    f"the amplifier of row {row} reads code {code} at rest, and {zero} when the board was set up: it, "
                    "its converter or their supply has failed"
                )

    def _outputs(self) -> List[int]:
        """Return the codes of the amplifiers of rows in use."""
        return self._hardware.read_adcs(self._converters)
