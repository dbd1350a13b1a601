"""Train ternary networks for the Wine data and write them as the cells that hold them.

A weight on a die is a differential pair of MTJs and can be -1, 0 or +1 only. Rounding a trained network
afterwards ruins it, so the rounding stands inside the training: the forward pass uses the rounded weights,
and the gradient passes through the rounding as if it were not there (straight-through estimator; Bengio et
al., arXiv 1308.3432).

Many networks are trained at once, each from its own seed: every array has one more axis in front.
"""

import argparse
from pathlib import Path

import numpy as np

from labctl import datasets
from labctl.core.units import FloatArray, IntArray
from labctl.solutions import CellArray, Solutions, save

HIDDEN = 6
SHARPNESS = 3.0  # outputs are tanh, within -1..1; times this they are the logits of the cross-entropy
RATE = 0.03
DECAYS = (0.9, 0.99)  # of the averages of the gradient and of its square, in Adam (arXiv 1412.6980)

EXPLANATION = """\
Each network has 13 inputs, 6 hidden neurons and 3 outputs, one per cultivar; all neurons are tanh, the
network scale is 1. Cells: +1 is (P, AP), -1 is (AP, P), 0 is (AP, AP): a die that has been surveyed is all
AP, so that a zero needs no pulse, and it draws the least current.

From every seed the epoch with the best training accuracy is kept (ties: the lower cross-entropy), and of all
candidates the best by the same rule. Test samples are looked at once, to report; they choose nothing. The
same seed gives the same file on the same machine; another CPU may round differently and end in other, equally
good networks.
"""


def ternary(latent: FloatArray) -> FloatArray:
    """Return -1, 0 or +1 for each latent weight; within 1/3 of zero is 0."""
    return np.sign(latent) * (np.abs(latent) > 1 / 3)


def cells(weights: FloatArray) -> CellArray:
    """Return the (s, in, 2 * out) cells of (s, in, out) ternary weights, w = cell[2j] - cell[2j + 1]."""
    pairs = np.stack([weights > 0, weights < 0], axis=-1)
    return pairs.reshape(*weights.shape[:2], -1).astype(np.uint8)


def train(x: FloatArray, y: IntArray, seeds: IntArray, epochs: int) -> Solutions:
    """Return one network per seed, trained on the samples `x` (n, in) of the classes `y` (n,).

    Networks do not see each other: a seed gives the same network whatever the other seeds are.
    """
    layers = [(x.shape[1], HIDDEN), (HIDDEN, int(y.max()) + 1)]
    randoms = [np.random.default_rng(int(seed)) for seed in seeds]
    first = [[r.uniform(-1, 1, shape) for shape in layers] for r in randoms]
    latent = [np.stack([f[k] for f in first]) for k in range(len(layers))]
    bias = [np.zeros((len(seeds), 1, out)) for _, out in layers]
    values = [*latent, *bias]
    mean, square = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
    truth = np.eye(layers[-1][1])[y]

    best = np.full((len(seeds), 2), -np.inf)  # training accuracy, then minus the cross-entropy
    kept = [v.copy() for v in values]
    for epoch in range(epochs + 1):
        w1, w2 = ternary(latent[0]), ternary(latent[1])
        hidden = np.tanh(x @ w1 + bias[0])
        out = np.tanh(hidden @ w2 + bias[1])
        likely = np.exp(SHARPNESS * out)
        likely /= likely.sum(axis=-1, keepdims=True)

        accuracy = (out.argmax(axis=-1) == y).mean(axis=1)
        entropy = -np.log((likely * truth).sum(axis=-1)).mean(axis=1)
        better = (accuracy > best[:, 0]) | ((accuracy == best[:, 0]) & (-entropy > best[:, 1]))
        best[better] = np.stack([accuracy, -entropy], axis=1)[better]
        for keep, now in zip(kept, [w1, w2, *bias], strict=True):
            keep[better] = now[better]

        d_out = SHARPNESS * (likely - truth) * (1 - out**2) / len(x)
        d_hidden = d_out @ w2.swapaxes(1, 2) * (1 - hidden**2)
        gradients = [
            x.T @ d_hidden,
            hidden.swapaxes(1, 2) @ d_out,
            d_hidden.sum(axis=1, keepdims=True),
            d_out.sum(axis=1, keepdims=True),
        ]
        rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / (epochs + 1)))
        for v, g, m, q in zip(values, gradients, mean, square, strict=True):
            m += (1 - DECAYS[0]) * (g - m)
            q += (1 - DECAYS[1]) * (g**2 - q)
            unbiased = np.sqrt(q / (1 - DECAYS[1] ** (epoch + 1))) + 1e-9
            v -= rate * m / (1 - DECAYS[0] ** (epoch + 1)) / unbiased
        for v in latent:
            np.clip(v, -1, 1, out=v)  # beyond 1 a weight would only be slow to come back
    order = np.lexsort((np.arange(len(seeds)), -best[:, 1], -best[:, 0]))
    w1, w2, b1, b2 = kept
    return Solutions(seeds, (cells(w1), cells(w2)), (b1[:, 0], b2[:, 0])).take(order)


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
