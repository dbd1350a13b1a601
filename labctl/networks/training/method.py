"""Ways of training, and what each knows of the dies that its networks are for."""

from enum import StrEnum

from protocols.die_information import DieInformation


class Method(StrEnum):
    """Which defects a network is trained with."""

    BASELINE = "baseline"
    HARDWARE_AWARE = "hardware-aware"
    STATISTICS_AWARE = "statistics-aware"

    @property
    def information(self) -> DieInformation:
        """What training knows of the die that is classified with."""
        return _INFORMATION[self]


_INFORMATION = {
    Method.BASELINE: DieInformation.NONE,
    Method.HARDWARE_AWARE: DieInformation.RETRAINING,
    Method.STATISTICS_AWARE: DieInformation.POPULATION,
}
