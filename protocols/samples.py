"""Samples with labels: what a network on a die is tuned on and tested with."""

from dataclasses import dataclass

from labctl.core.inputs import Input
from labctl.core.units import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Dataset(Input):
    """Samples for training and for test.

    Args:
        x_train: (n, features).
        y_train: (n,), class of each sample, from 0.
        x_test: (m, features).
        y_test: (m,).
        name: `wine`, `digits`, `mnist`, or the name of the file it was read from.
        source: where the data come from and under which licence, for the record.
    """

    x_train: FloatArray
    y_train: IntArray
    x_test: FloatArray
    y_test: IntArray
    name: str = "data"
    source: str = ""

    @property
    def features(self) -> int:
        """Number of features of a sample."""
        return int(self.x_train.shape[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1
