"""Train ternary networks for the Wine data and write them as the cells that hold them; no library is needed.

A weight on a die is a differential pair of MTJs and can be -1, 0 or +1 only. Rounding a trained network
afterwards ruins it, so the rounding stands inside the training: the forward pass uses the rounded weights,
and the gradient passes through the rounding as if it were not there (straight-through estimator; Bengio et
al., arXiv 1308.3432).

Many networks are trained at once, each from its own seed: every array has one more axis in front.
"""

import numpy as np

from labctl.core.units import FloatArray, IntArray
from labctl.networks.solutions import CellArray, Solutions

HIDDEN = 6
SHARPNESS = 3.0  # outputs are tanh, within -1..1; times this they are the logits of the cross-entropy
RATE = 0.03
DECAYS = (0.9, 0.99)  # of the averages of the gradient and of its square, in Adam (arXiv 1412.6980)


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
