"""The objective: each player's own gradient, and what recovery may teach whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.modalities import Recovery
from mmgen_jax.model import Batch
from mmgen_jax.objective import objective, weigh
from tests import toys
from tests.tiny import random_parameters


@pytest.fixture(scope="module")
def toy():
    """(model, params, state, batch) of the toy with two players."""
    with toys.registered():
        config = toys.toy_config()
        config.fusion.keep_all_rate = 0.5
        model = models.build(config, {"number": {}})
    params, _ = random_parameters(lambda key: models.init(model, key))
    rng = np.random.default_rng(1)
    batch = Batch(
        index=jnp.arange(8, dtype=jnp.uint32),
        images=jnp.asarray(rng.uniform(-1, 1, (8, 8, 8, 3)), jnp.float32),
        values={"number": {"number": jnp.asarray(rng.uniform(-1, 1, 8), jnp.float32)}},
        has={"number": jnp.arange(8) % 4 > 0},
    )
    state = {"mean": jnp.full((8, 8, 3), 0.1), "batches": jnp.zeros((), jnp.int32)}
    return model, params, state, batch


def gradient(toy, term, weights=None):
    """Gradient of one metric of the objective, or of its total, in all parameters."""
    model, params, state, batch = toy
    if weights is not None:
        model = model._replace(weights=model.weights._replace(**weights))

    def scalar(params):
        total, (_, metrics) = objective(model, params, state, batch, jax.random.key(0), 0)
        return total if term is None else metrics[term]

    return jax.jit(jax.grad(scalar))(params)


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_the_gradient_of_the_sum_is_each_players_own(toy):
    weights = dict(recovery={"number": 0.7}, generated={"number": 0.3})
    together = gradient(toy, None, weights)
    owners = toy[0].generator.players
    assert {group for groups in owners.values() for group in groups} | {"frozen"} == set(together)
    assert not together["frozen"]
    for player, groups in owners.items():
        alone = gradient(toy, f"loss_{player}", weights)
        for group in groups:
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
                together[group],
                alone[group],
            )
            assert largest(alone[group]) > 0
        for group in set(together) - {*groups, "frozen"}:
            assert largest(alone[group]) == 0


def test_the_loss_is_the_equation(toy):
    model, params, state, batch = toy
    recovery, generated = {"number": 0.7}, {"number": 0.3}
    model = model._replace(weights=model.weights._replace(recovery=recovery, generated=generated))
    total, (_, m) = jax.jit(
        lambda params: objective(model, params, state, batch, jax.random.key(0), 0)
    )(params)
    family = m["loss_generator"] + 0.7 * m["recovery_number"] + 0.3 * m["generated_number"]
    assert m["recovery_number"] != 0 and m["generated_number"] != 0
    np.testing.assert_allclose(total, m["loss_generator"] + m["loss_critic"], rtol=1e-6)
    bare = model._replace(weights=model.weights._replace(recovery={"number": 0.0}, generated={}))
    _, (_, alone) = jax.jit(
        lambda params: objective(bare, params, state, batch, jax.random.key(0), 0)
    )(params)
    np.testing.assert_allclose(family, alone["loss_generator"], rtol=1e-5)
    assert "generated_number" not in alone


def test_recovery_from_real_images_teaches_heads_and_not_the_generator(toy):
    grads = gradient(toy, "recovery_number")
    assert largest(grads["recovery"]) > 0
    assert largest(grads["generator"]) == 0
    assert largest(grads["critic"]) == 0


def test_recovery_from_generated_images_teaches_no_head(toy):
    grads = gradient(toy, "generated_number", dict(generated={"number": 1.0}))
    assert largest(grads["recovery"]) == 0
    assert largest(grads["generator"]) > 0


def test_no_gradient_enters_an_encoding_where_a_generated_image_is_judged(toy):
    """A head may look at the encoding; only through the picture may that teach the encoder."""
    model, params, state, batch = toy
    number = model.modalities["number"]

    def recover(params, images, value, encoding):
        bound = images.mean(axis=(1, 2, 3)) * encoding.mean.sum(axis=-1)
        return Recovery(bound, jnp.zeros_like(bound))

    def losses(params, state, images, condition, keys, step):
        blind = jax.tree.map(jax.lax.stop_gradient, condition)
        return model.generator.losses(params, state, images, blind, keys, step)

    changed = model._replace(
        modalities={"number": number._replace(recover=recover)},
        generator=model.generator._replace(losses=losses),
    )
    changed = changed, params, state, batch
    generated = gradient(changed, "generated_number", dict(generated={"number": 1.0}))
    assert largest(generated["encoders"]) == 0
    assert largest(generated["generator"]) > 0
    assert largest(gradient(changed, "recovery_number")["encoders"]) > 0


def test_generated_recovery_is_masked_by_what_was_given(toy):
    model, params, state, batch = toy
    weights = model.weights._replace(
        generated={"number": 1.0}, keep_all_rate=0.0, drop_all_rate=1.0
    )
    model = model._replace(weights=weights)
    run = jax.jit(lambda params: objective(model, params, state, batch, jax.random.key(0), 0))
    _, (_, metrics) = run(params)
    assert metrics["generated_number"] == 0
    assert metrics["recovery_number"] < 0


def test_randomness_follows_the_index_and_not_the_place(toy):
    model, params, state, batch = toy
    loss = jax.jit(
        lambda batch: objective(model, params, state, batch, jax.random.key(3), 0)[1][1]["error"]
    )
    flipped = jax.tree.map(lambda x: x[::-1], batch)
    np.testing.assert_allclose(loss(flipped), loss(batch), rtol=1e-6)
    reindexed = batch._replace(index=batch.index[::-1])
    assert abs(loss(reindexed) - loss(batch)) > 1e-4


def test_weigh_leaves_out_what_the_mask_leaves_out():
    bound = jnp.array([1.0, jnp.nan, 3.0, jnp.inf])
    recovery = {"a": Recovery(bound, jnp.array([1.0, 1.0, 0.0, 1.0]))}
    mask = {"a": jnp.array([True, False, True, False])}
    total, metrics = weigh(recovery, mask, {"a": 0.5}, "recovery")
    assert total == 1.0 and metrics == {"recovery_a": 2.0, "recovery_accuracy_a": 0.5}
    total, _ = weigh(recovery, {"a": jnp.zeros(4, bool)}, {"a": 0.5}, "recovery")
    assert total == 0
