"""What was known of a die for an accuracy: the terms that every accuracy is stored and shown with, defined here only.

An accuracy on hardware means little without them: of what the weights were trained for, of how many samples tuning saw
labels, of what a computer does beside the array. Levels are ordered by how much they take from a die; an accuracy has
that of the most that was used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Self


class DieInformation(IntEnum):
    """What was known of the very die that is classified with."""

    NONE = 0
    POPULATION = 1
    UNLABELLED = 2
    LABELLED = 3
    DEFECT_MAP = 4
    RETRAINING = 5

    @property
    def title(self) -> str:
        """Name for people."""
        return _TITLES[self]


_TITLES = {
    DieInformation.NONE: "none",
    DieInformation.POPULATION: "population of dies",
    DieInformation.UNLABELLED: "unlabelled calibration images",
    DieInformation.LABELLED: "labelled tuning images",
    DieInformation.DEFECT_MAP: "defect map",
    DieInformation.RETRAINING: "retraining",
}
LEVELS = ", ".join(f"{level.value} {level.title}" for level in DieInformation)
"""All levels in words, for notes and legends."""


class Way(StrEnum):
    """How the currents of a programmed network become classes."""

    UNTUNED = "untuned"
    TUNED = "tuned"
    CALIBRATED = "calibrated"
    SUBTRACTED = "subtracted"


@dataclass(frozen=True)
class AccuracyTerms:
    """Under which terms an accuracy was reached.

    Args:
        way: how currents became classes.
        per_die: the weights were trained for this die and no other.
        trained_with: what training knew of the die.
        remapped: the network was placed by the survey of the die.
        labelled: samples with labels that were read on the die to choose network scales.
        unlabelled: samples without labels that were read on the die to calibrate neurons.
        second_gate: a share of what was read at another gate was taken off every column.
    """

    way: Way
    per_die: bool
    trained_with: DieInformation
    remapped: bool
    labelled: int
    unlabelled: int
    second_gate: bool = False

    @classmethod
    def of(
        cls,
        way: Way,
        trained_with: DieInformation,
        *,
        per_die: bool,
        remapped: bool,
        labelled: int,
        unlabelled: int,
        second_gate: bool = False,
    ) -> Self:
        """Return the terms of a way, of which only one uses labels and only one calibrates.

        >>> terms = AccuracyTerms.of(
        ...     Way.CALIBRATED, DieInformation.POPULATION, per_die=False, remapped=False, labelled=100, unlabelled=50
        ... )
        >>> terms.information.title, terms.labelled, terms.unlabelled
        ('unlabelled calibration images', 0, 50)
        """
        return cls(
            way,
            per_die,
            trained_with,
            remapped,
            labelled if way is Way.TUNED else 0,
            unlabelled if way is Way.CALIBRATED else 0,
            second_gate,
        )

    @property
    def information(self) -> DieInformation:
        """The most that was known of the die."""
        by_map = self.remapped or self.way is Way.SUBTRACTED
        return max(
            self.trained_with,
            DieInformation.UNLABELLED if self.unlabelled else DieInformation.NONE,
            DieInformation.LABELLED if self.labelled else DieInformation.NONE,
            DieInformation.DEFECT_MAP if by_map else DieInformation.NONE,
        )

    @property
    def analog(self) -> bool:
        """Whether no weight is computed digitally."""
        return self.way is not Way.SUBTRACTED

    @property
    def digital_help(self) -> str:
        """What is computed beside the array, but for biases, neurons and the sum of tiles, which are never analog.

        >>> AccuracyTerms(Way.CALIBRATED, False, DieInformation.POPULATION, False, 0, 9, second_gate=True).digital_help
        'a share of a second gate off every column; gain and offset of each neuron'
        """
        by_way = {
            Way.CALIBRATED: "gain and offset of each neuron",
            Way.SUBTRACTED: "weights with a bad cell computed digitally: not analog inference",
        }.get(self.way)
        share = "a share of a second gate off every column" if self.second_gate else None
        return "; ".join(text for text in (share, by_way) if text) or "none"

    @property
    def text(self) -> str:
        """The terms in words.

        >>> AccuracyTerms(Way.TUNED, False, DieInformation.NONE, True, 1000, 0).text
        'tuned: one set of weights, die information 4 (defect map; remapped), 1,000 labels, digital help: none'
        """
        level = self.information
        known = f"{level.value} ({level.title}{'; remapped' if self.remapped else ''})"
        labels = f"{self.labelled:,} labels" if self.labelled else "no labels"
        images = f", {self.unlabelled:,} unlabelled samples" if self.unlabelled else ""
        weights = "weights of its own for each die" if self.per_die else "one set of weights"
        return f"{self.way}: {weights}, die information {known}, {labels}{images}, digital help: {self.digital_help}"

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the terms of one row of the table `accuracy`."""
        return cls(
            Way(str(row["way"])),
            bool(row["per_die"]),
            DieInformation(int(row["trained_with"])),
            bool(row["remapped"]),
            int(row["labelled"]),
            int(row["unlabelled"]),
            bool(row.get("second_gate", False)),
        )
