"""The record of an accuracy, made in one way by every stage that runs networks."""

from collections.abc import Mapping

from labctl.core.units import IntArray
from protocols.die_information import AccuracyTerms
from protocols.records import Accuracy
from protocols.statistics import binomial_interval


def accuracy_record(
    solution: int,
    terms: AccuracyTerms,
    predicted: IntArray,
    label: IntArray,
    parts: Mapping[str, slice],
    software_test: float,
) -> Accuracy:
    """Return the record of an accuracy.

    Args:
        solution: number of the solution in its file.
        predicted: (n,) classes of samples of the classes `label` (n,).
        parts: which of them are of "train" and "test".
        software_test: accuracy of the same network in software on the test samples.
    """
    right = predicted == label
    train, test = right[parts["train"]], right[parts["test"]]
    return Accuracy(
        solution=solution,
        way=terms.way.value,
        per_die=terms.per_die,
        trained_with=terms.trained_with,
        remapped=terms.remapped,
        labelled=terms.labelled,
        unlabelled=terms.unlabelled,
        second_gate=terms.second_gate,
        information=terms.information,
        analog=terms.analog,
        accuracy_train=float(train.mean()),
        accuracy_test=float(test.mean()),
        interval_test=binomial_interval(int(test.sum()), len(test)),
        software_test=software_test,
        drop_test=software_test - float(test.mean()),
        prediction_test=predicted[parts["test"]],
    )
