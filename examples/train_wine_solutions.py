"""Train ternary networks for the Wine data and write them as the cells that hold them.

A weight on a die is a differential pair of MTJs and can be -1, 0 or +1 only; how such networks are trained stands in
`labctl.experiments.wine_training`. `labctl reproduce wine-passive` trains 300 in this way and runs them on four dies.
"""

import argparse
from pathlib import Path

import numpy as np

from labctl.experiments.wine_training import train
from labctl.networks import datasets
from labctl.networks.solutions import save

EXPLANATION = """\
Each network has 13 inputs, 6 hidden neurons and 3 outputs, one per cultivar; all neurons are tanh, the
network scale is 1. Cells: +1 is (P, AP), -1 is (AP, P), 0 is (AP, AP): a die that has been surveyed is all
AP, so that a zero needs no pulse, and it draws the least current.

From every seed the epoch with the best training accuracy is kept (ties: the lower cross-entropy), and of all
candidates the best by the same rule. Test samples are looked at once, to report; they choose nothing. The
same seed gives the same file on the same machine; another CPU may round differently and end in other, equally
good networks.
"""


def main() -> None:
    """Train, report, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="npz file to write; an existing one is not written over")
    parser.add_argument("--count", type=int, default=24, help="networks to keep (%(default)s)")
    parser.add_argument("--candidates", type=int, default=96, help="networks to train (%(default)s)")
    parser.add_argument("--epochs", type=int, default=1000, help="passes over the training samples (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first candidate (%(default)s)")
    asked = parser.parse_args()
    if not (1 <= asked.count <= asked.candidates and asked.epochs >= 1 and asked.seed >= 0):
        parser.error("expected 1 <= count <= candidates, at least 1 epoch, and a seed from 0")

    wine = datasets.load("wine")
    seeds = np.arange(asked.seed, asked.seed + asked.candidates)
    found = train(wine.x_train, wine.y_train, seeds, asked.epochs).take(slice(asked.count))
    train_, test = found.accuracy(wine.x_train, wine.y_train), found.accuracy(wine.x_test, wine.y_test)
    save(asked.out, found)
    for name, a in (("train", train_), ("test", test)):
        print(f"{name:5}  mean {a.mean():.4f}  median {np.median(a):.4f}  min {a.min():.4f}  max {a.max():.4f}")
    zeros = [1 - float(np.abs(w).mean()) for w in found.weights]
    print(f"{len(found)} solutions, zero weights {zeros[0]:.0%} and {zeros[1]:.0%}, written to {asked.out}")


if __name__ == "__main__":
    main()
