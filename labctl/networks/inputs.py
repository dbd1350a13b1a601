"""How the files that network stages name become their inputs: trained networks and data sets."""

from labctl.core.inputs import InputFiles, InputReader
from labctl.networks import datasets
from labctl.networks.solutions import Solutions
from labctl.networks.trained_network import read_trained
from protocols.samples import Dataset
from protocols.stage_inputs import Networks
from protocols.weights import Layer, Solution


def as_networks(trained: Solutions) -> tuple[Solution, ...]:
    """Return the solutions of a file as the networks that protocols program."""
    return tuple(
        Solution(
            int(index),
            tuple(Layer(cells[k], bias[k]) for cells, bias in zip(trained.devices, trained.bias, strict=True)),
            trained.votes,
        )
        for k, index in enumerate(trained.index)
    )


def read_networks(path: str, files: InputFiles) -> Networks:
    """Return the networks in an npz file, with the settings of their training; BenchError if it has none."""
    trained = read_trained(path, files)
    networks = as_networks(trained.solutions)
    activation = str(trained.activation) if trained.says_activation else ""
    return Networks(networks, trained.scale, trained.preprocess, trained.dies, path, trained.trained_with, activation)


def read_dataset(text: str, files: InputFiles) -> Dataset:
    """Return a data set by its name or from a path; BenchError if there is none, or its content is wrong."""
    return datasets.load(text, files)


NETWORKS = InputReader(Networks, read_networks, "npz file of trained weights: fcK_devices, fcK_bias, index")
DATASET = InputReader(
    Dataset, read_dataset, "data set: wine, digits, mnist, or an npz file or folder of the user's own", datasets.NAMES
)
