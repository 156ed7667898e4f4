"""Optimizers: the schedule, clipping, decay, and that Muon is Muon for every single layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.config.core import OptimizerOptions
from mmgen_jax.training import optimizers
from tests.tiny import tiny_model

LAYERS = 3


def options(**values):
    config = configs.default().optimizer.generator
    config.update(
        learning_rate=0.1,
        adamw_learning_rate=0.01,
        warmup_steps=0,
        final_fraction=1.0,
        beta1=0.9,
        beta2=0.99,
        weight_decay=0.0,
        clip_norm=1e9,
    )
    config.update(values)
    return configs.read_options(OptimizerOptions, config)


def stacked_params(seed=0):
    """Three layers stacked as `nn.scan` does, and what else a network has."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    layers = {
        "dense": {"kernel": draw(LAYERS, 8, 12), "bias": draw(LAYERS, 12)},
        "norm": {"scale": draw(LAYERS, 8)},
        "convolution": {"kernel": draw(LAYERS, 3, 3, 4, 6)},
    }
    return {
        "layers": layers,
        "embed": {"embedding": draw(20, 8)},
        "out": {"kernel": draw(8, 5)},
    }


def layer(tree, number):
    return jax.tree.map(lambda x: x[number], tree["layers"])


def updates(transformation, params, *gradients):
    """What the transformation adds to `params`, gradient by gradient."""

    def run(params):
        state, added = transformation.init(params), []
        for gradient in gradients:
            update, state = transformation.update(gradient, state, params)
            params = optax.apply_updates(params, update)
            added.append(update)
        return added

    return jax.jit(run)(params)


def assert_close(ours, theirs, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), ours, theirs)


def test_muon_moves_stacked_layers_as_each_layer_alone():
    muon = optimizers.build(options(name="muon"), steps=10)
    params, gradients = stacked_params(), [stacked_params(seed) for seed in (1, 2)]
    together = updates(muon, params, *gradients)
    for number in range(LAYERS):
        alone = updates(muon, layer(params, number), *(layer(g, number) for g in gradients))
        for step in range(2):
            assert_close(layer(together[step], number), alone[step], rtol=1e-4)


def test_muon_orthogonalises_every_matrix():
    """All singular values of an update are about equal, whatever the gradient's were."""
    muon = optimizers.build(options(name="muon"), steps=10)
    (update,) = updates(muon, stacked_params(), stacked_params(1))
    dense, convolution = (layer(update, 1)[name]["kernel"] for name in ("dense", "convolution"))
    for matrix in (dense, convolution.reshape(-1, 6), update["out"]["kernel"]):
        values = np.linalg.svd(matrix, compute_uv=False)
        assert values.min() > 0.5 * values.max() > 0
    gradient = np.linalg.svd(layer(stacked_params(1), 1)["dense"]["kernel"], compute_uv=False)
    assert gradient.min() < 0.5 * gradient.max()


def test_muon_leaves_the_rest_to_adamw():
    """To AdamW with Nesterov's momentum, as optax builds it."""
    muon = optimizers.build(options(name="muon"), steps=10)
    adamw = optax.nadamw(0.01, b1=0.9, b2=0.99, weight_decay=0.0)
    params, gradients = stacked_params(), [stacked_params(seed) for seed in (1, 2)]
    by_muon, by_adamw = updates(muon, params, *gradients), updates(adamw, params, *gradients)
    for ours, theirs in zip(by_muon, by_adamw, strict=True):
        assert_close(ours["embed"], theirs["embed"])
        assert_close(ours["layers"]["norm"], theirs["layers"]["norm"])
        assert_close(ours["layers"]["dense"]["bias"], theirs["layers"]["dense"]["bias"])


def test_which_parameters_of_a_model_are_matrices():
    """Kernels, the layer of stacked ones aside; no embedding, norm, bias, position or token."""
    model = tiny_model(("text", "label", "image"))
    params = jax.eval_shape(lambda: models.init(model, jax.random.key(0))[0])
    numbers = optimizers.matrix_dimensions(params)
    kinds = {True: set(), False: set()}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = [entry.key for entry in path]
        found = numbers
        for name in names:
            found = found[name]
        kinds[found is not None].add(names[-1])
        if found is not None:
            stacked = optimizers.STACKED in names
            assert leaf.ndim == 2 + stacked
            assert (found.reduction_axis, found.output_axis) == ((stacked,), (1 + stacked,))
    assert kinds[True] == {"kernel"}
    assert {"embedding", "scale", "bias", "null", "positions"} <= kinds[False]


def test_adamw_is_optax_with_clipping_before_it():
    ours = optimizers.build(options(name="adamw", clip_norm=0.5, weight_decay=0.1), steps=10)
    mask = optimizers.matrix_mask(stacked_params())
    theirs = optax.adamw(0.1, b1=0.9, b2=0.99, weight_decay=0.1, mask=mask)
    params = stacked_params()
    large, small = stacked_params(1), jax.tree.map(lambda x: 1e-3 * x, stacked_params(2))
    norms = [float(jnp.sqrt(sum((x**2).sum() for x in jax.tree.leaves(g)))) for g in (large, small)]
    assert norms[0] > 0.5 > norms[1]
    clipped = jax.tree.map(lambda x: x * (0.5 / norms[0]), large)
    assert_close(updates(ours, params, large, small), updates(theirs, params, clipped, small))


@pytest.mark.parametrize("name", ("adamw", "muon"))
def test_only_matrices_decay(name):
    """Without a gradient a matrix shrinks by learning rate times decay, all else stays."""
    decaying = optimizers.build(options(name=name, weight_decay=0.5), steps=10)
    params = stacked_params()
    (update,) = updates(decaying, params, jax.tree.map(jnp.zeros_like, params))
    matrices = optimizers.matrix_mask(params)
    expected = jax.tree.map(
        lambda matrix, x: -0.1 * 0.5 * x if matrix else jnp.zeros_like(x), matrices, params
    )
    assert_close(update, expected)
    assert sum(jax.tree.leaves(matrices)) == 3


@pytest.mark.parametrize("warmup", (0, 1, 4))
def test_the_schedule_is_its_closed_form(warmup):
    steps, peak, final = 20, 0.3, 0.2
    rate = optimizers.learning_rate(options(warmup_steps=warmup, final_fraction=final), peak, steps)
    for step in range(steps + 5):
        if step < warmup:
            expected = peak * (1 / (warmup + 1) + step / warmup * (1 - 1 / (warmup + 1)))
        else:
            done = min((step - warmup) / (steps - warmup), 1)
            expected = peak * (final + (1 - final) * 0.5 * (1 + np.cos(np.pi * done)))
        np.testing.assert_allclose(rate(step), expected, rtol=1e-5)
        assert rate(step) > 0


def test_the_schedule_counts_the_steps_at_which_the_player_moves():
    rests = options(
        warmup_steps=2, update_every=3, update_start=4
    )  # moves at 4, 7, 10, 13, 16 and 19
    ours, theirs = (
        optimizers.learning_rate(chosen, 0.3, steps)
        for chosen, steps in ((rests, 20), (options(warmup_steps=2), 6))
    )
    assert [float(ours(n)) for n in range(7)] == [float(theirs(n)) for n in range(7)]


def test_a_warm_up_longer_than_training_is_cut():
    rate = optimizers.learning_rate(options(warmup_steps=100), 0.3, steps=5)
    assert max(float(rate(step)) for step in range(5)) == pytest.approx(0.3)
    assert float(optimizers.learning_rate(options(warmup_steps=100), 0.3, steps=1)(0)) > 0
