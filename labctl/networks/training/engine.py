"""The networks in JAX: forward through cells, gradients straight through the rounding, one epoch as one program.

A weight on a die can be -1, 0 or +1 only. Rounding a trained network afterwards ruins it, so the rounding
stands inside the training: the forward pass uses rounded weights on the cells there are, and the gradient
passes through the rounding as if it were not there (straight-through estimator; Bengio et al., arXiv
1308.3432). Through a pair of which one cell does not switch it passes with half its strength, so that a weight
can leave the side on which it has no effect.

Many networks are trained at once: every function is written for one and mapped over a leading axis of seeds
(`jax.vmap`), while all of them see the same samples in the same order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from labctl.core.errors import BenchError
from labctl.networks.training.recipe import Levels, Recipe
from protocols.chip_readout import Activation


def libraries() -> tuple[Any, Any]:
    """Return the modules jax and optax; BenchError, saying how to get them, if they are not installed."""
    try:
        import jax
        import optax
    except ImportError as error:
        raise BenchError(f"training needs jax and optax ({error}); pip install 'mtj-labctl[train]'") from error
    return jax, optax


@dataclass(frozen=True)
class Engine:
    """Compiled functions over all seeds at once; `state` is one tree of arrays with a leading axis of seeds.

    Args:
        start: (seeds,) -> state.
        epoch: (state, seeds, number, x, y, cells) -> state after all steps of the epoch.
        judge: (state, x, y, cells) -> (seeds, 2): accuracy and minus the cross-entropy.
        rounded: state -> per layer (seeds, n_in, n_out) of +1, 0, -1.
    """

    start: Callable[[Any], Any]
    epoch: Callable[..., Any]
    judge: Callable[..., Any]
    rounded: Callable[[Any], Any]


@cache
def build(recipe: Recipe, samples: int, source: str) -> Engine:
    """Return the engine of a recipe; the same again for the same arguments, since compiling takes seconds.

    Args:
        samples: training samples there are.
        source: cells of a step. `ideal`: all are nominal, `cells` is None. `fixed`: `cells` is per
            layer (seeds, n_in, 2 n_out, 2), the map of each seed. `drawn`: `cells` is (n, 2), the population that
            fresh maps are drawn from.
    """
    jax, optax = libraries()
    jnp = jax.numpy
    batch = min(recipe.batch, samples)
    maps = recipe.maps if source == "drawn" else 1
    batch -= batch % maps
    if not batch:
        raise BenchError(f"{samples} samples in batches of {recipe.batch} are too few for {maps} maps per step")
    steps = samples // batch
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(recipe.rate, recipe.epochs * steps))
    )

    def levels(latent: Any) -> Any:
        if recipe.levels is Levels.BINARY:
            return jnp.where(latent >= 0, 1.0, -1.0)
        return jnp.sign(latent) * (jnp.abs(latent) > recipe.threshold)

    def effective(latent: Any, cells: Any) -> Any:
        """(n_in, n_out) weights that cells (n_in, 2 n_out, 2) make of latent ones."""
        weight = levels(latent)
        if cells is None:
            return latent + jax.lax.stop_gradient(weight - latent)
        pairs = cells.reshape(*latent.shape, 2, 2)  # cell of the pair, written P or AP
        swing = pairs[..., 0] - pairs[..., 1]
        hard = pairs[..., 0, 1] - pairs[..., 1, 1]
        hard += (weight > 0) * swing[..., 0] - (weight < 0) * swing[..., 1]
        soft = latent * swing.mean(axis=-1)
        return soft + jax.lax.stop_gradient(hard - soft)

    def sign(u: Any) -> Any:
        a = jnp.tanh(u)
        return a + jax.lax.stop_gradient(jnp.where(u >= 0, 1.0, -1.0) - a)

    neuron = jnp.tanh if recipe.activation is Activation.TANH else sign

    def forward(values: Any, x: Any, cells: Any) -> Any:
        """(n, classes) inputs of the last neurons."""
        depth = len(recipe.shapes)
        for k in range(depth):
            w = effective(values["latent"][k], None if cells is None else cells[k])
            x = x @ w / jnp.exp(values["log_scale"][k]) + values["bias"][k]
            x = neuron(x) if k < depth - 1 else x
        return x.reshape(len(x), recipe.votes, -1).mean(axis=1)

    def entropy(values: Any, x: Any, y: Any, cells: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(forward(values, x, cells), y).mean()

    def draw(key: Any, population: Any) -> list[Any]:
        """Per layer (maps, n_in, 2 n_out, 2) cells."""
        keys = jax.random.split(key, len(recipe.shapes))
        layers = []
        for one, shape in zip(keys, recipe.shapes, strict=True):
            index = jax.random.randint(one, (maps, *shape), 0, len(population))
            layers.append(population[index])
        return layers

    def loss(values: Any, key: Any, x: Any, y: Any, cells: Any) -> Any:
        if source != "drawn":
            return entropy(values, x, y, cells)
        parts = jax.vmap(entropy, (None, 0, 0, 0))
        return parts(values, x.reshape(maps, -1, x.shape[1]), y.reshape(maps, -1), draw(key, cells)).mean()

    gradient = jax.grad(loss)
    per_seed = 0 if source == "fixed" else None

    def start_one(seed: Any) -> Any:
        keys = jax.random.split(jax.random.key(seed), len(recipe.shapes))
        shapes = [(n, m // 2) for n, m in recipe.shapes]
        values = {
            "latent": [jax.random.uniform(k, s, minval=-1.0) for k, s in zip(keys, shapes, strict=True)],
            "bias": [jnp.zeros(m) for _, m in shapes],
            "log_scale": [jnp.log(s) for s in jnp.array(recipe.initial_scales)],
        }
        return {"values": values, "optimiser": optimiser.init(values)}

    def step(state: Any, key: Any, x: Any, y: Any, cells: Any) -> Any:
        g = gradient(state["values"], key, x, y, cells)
        if recipe.scale is not None:
            g["log_scale"] = [jnp.zeros_like(v) for v in g["log_scale"]]
        updates, memory = optimiser.update(g, state["optimiser"], state["values"])
        values = optax.apply_updates(state["values"], updates)
        # beyond 1 a latent weight would only be slow to come back
        values["latent"] = [jnp.clip(v, -1.0, 1.0) for v in values["latent"]]
        return {"values": values, "optimiser": memory}

    def epoch(state: Any, seeds: Any, number: Any, x: Any, y: Any, cells: Any) -> Any:
        order = jax.random.permutation(jax.random.fold_in(jax.random.key(0), number), samples)
        order = order[: steps * batch].reshape(steps, batch)
        keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), 1 + number))(seeds)

        def one(state: Any, at: Any) -> Any:
            k, index = at
            key = jax.vmap(lambda key: jax.random.fold_in(key, k))(keys)
            mapped = jax.vmap(step, (0, 0, None, None, per_seed))
            return mapped(state, key, x[index], y[index], cells), None

        return jax.lax.scan(one, state, (jnp.arange(steps), order))[0]

    def judge_one(values: Any, x: Any, y: Any, cells: Any) -> Any:
        z = forward(values, x, cells)
        likely = optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
        return jnp.stack([(z.argmax(axis=-1) == y).mean(), -likely])

    def judge(state: Any, x: Any, y: Any, cells: Any) -> Any:
        """With a drawn source `cells` is per layer (maps, n_in, 2 n_out, 2): the mean over these maps."""
        if source != "drawn":
            return jax.vmap(judge_one, (0, None, None, per_seed))(state["values"], x, y, cells)
        each = jax.vmap(jax.vmap(judge_one, (None, None, None, 0)), (0, None, None, None))
        return each(state["values"], x, y, cells).mean(axis=1)

    return Engine(
        start=jax.jit(jax.vmap(start_one)),
        epoch=jax.jit(epoch, donate_argnums=0),
        judge=jax.jit(judge),
        rounded=jax.jit(lambda state: [levels(v) for v in state["values"]["latent"]]),
    )
