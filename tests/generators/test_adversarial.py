"""The terms of the game against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.adversarial import gradient_penalty, lazily, logistic, relativistic


def test_scores_are_logits():
    score, other = jnp.array([-3.0, 0.0, 5.0]), jnp.array([1.0, 0.0, -2.0])
    np.testing.assert_allclose(logistic(score), -np.log(jax.nn.sigmoid(score)), rtol=1e-5)
    expected = -np.log(jax.nn.sigmoid(score - other))
    np.testing.assert_allclose(relativistic(score, other), expected, rtol=1e-4)


def test_the_penalty_is_the_squared_norm_of_each_examples_gradient():
    rng = np.random.default_rng(0)
    x, c = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in [(4, 3, 3, 1), (4, 5)])
    w = jnp.asarray(rng.normal(size=9), jnp.float32)

    def score(inputs):
        image, condition = inputs
        return jnp.square(image.reshape(4, -1) @ w) + condition.sum(-1) ** 3

    by_image = 2 * (x.reshape(4, -1) @ w)[:, None] * w[None]
    by_condition = jnp.broadcast_to(3 * c.sum(-1, keepdims=True) ** 2, c.shape)
    expected = jnp.square(by_image).sum(-1) + jnp.square(by_condition).sum(-1)
    np.testing.assert_allclose(gradient_penalty(score, (x, c)), expected, rtol=1e-4)


@pytest.mark.parametrize("every", [1, 4])
def test_a_lazy_term_has_the_same_mean_and_the_same_mean_gradient(every):
    def loss(w, step):
        return lazily(step, every, lambda: (w**2, {"more": 3 * w}))

    values = [jax.jit(loss)(2.0, step) for step in range(8)]
    assert np.mean([v[0] for v in values]) == 4
    assert np.mean([v[1]["more"] for v in values]) == 6
    assert sum(v[0] != 0 for v in values) == 8 // every
    gradient = jax.jit(jax.grad(lambda w, step: loss(w, step)[0]))
    assert np.mean([gradient(2.0, step) for step in range(8)]) == 4
