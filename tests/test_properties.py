"""What must hold for every family: absence, order, subsets and guidance.

A family joins by a line in FAMILIES and its sizes in `tiny_config`. How a modality is encoded and
recovered does not depend on the family, nor how a family uses a condition on the modalities: the
fast suite has one family with all of them, and one of each other sort (two players, codes) with
two; the slow one has the other families with two, and all of them with all. The pooled experts
equal their closed form whatever these are: see `test_fusion.py`.
"""

import functools
import itertools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.guidance import Guidance, guide
from mmgen_jax.modalities import Encoding
from mmgen_jax.model import Model
from mmgen_jax.nn.layout import path_name
from mmgen_jax.objective import objective
from mmgen_jax.sampling.sample import sample
from mmgen_jax.training.run import sample_options
from tests.tiny import ALL, open_source, random_parameters, tiny_batch, tiny_config

FAMILIES = ("flow", "autoencoder", "gan", "stylegan", "vae", "vqvae", "dalle")
TWO = ("label", "audio")
# Different in every modality, so that the order of ranks is one of its own.
WEIGHTS = {"text": 1.0, "label": 0.25, "audio": 1.5, "image": 0.5, "sketch": 2.0, "style": 0.75}
# Two inputs of one kind: each has its own encoder, weight and recovery.
NAMED = ("text", "audio", "sketch:image", "style:image")


class Setup(NamedTuple):
    """What a model is made of.

    Attributes:
      family: of the generator.
      inputs: in order, as a recipe names them.
    """

    family: str
    inputs: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the inputs."""
        return tuple(name.partition(":")[0] for name in self.inputs)

    @property
    def rows(self) -> int:
        """One for every subset of the modalities."""
        return 2 ** len(self.names)

    @property
    def has(self) -> dict[str, np.ndarray]:
        """Row r has the modalities of r's binary digits: every subset."""
        return {name: np.arange(self.rows) >> k & 1 == 1 for k, name in enumerate(self.names)}

    @property
    def weights(self) -> dict[str, float]:
        """Of guidance, of each modality."""
        return {name: WEIGHTS[name] for name in self.names}


QUICK = (Setup("flow", NAMED), Setup("gan", TWO), Setup("dalle", TWO))
EACH = (QUICK[0], *(Setup(family, names) for names in (TWO, ALL) for family in FAMILIES[1:]))


def slow_but(*setups: Setup) -> list[Any]:
    """Every setup as a parameter, all but these slow."""
    slow = functools.partial(pytest.param, marks=pytest.mark.slow)
    return [setup if setup in setups else slow(setup) for setup in EACH]


def for_each(setups: list[Any]):
    """Parametrises a test by setups, whose names stand in the names of its cases."""
    return pytest.mark.parametrize("setup", setups, ids=lambda s: f"{s.family}-{len(s.names)}")


every = for_each(slow_but(*QUICK))
# Of the order of modalities the fusion alone knows: a family gets what it has made of them.
flow_alone = for_each(slow_but(QUICK[0]))


class Compiled(NamedTuple):
    """A family's model, its parameters without a single zero, and what is compiled of it.

    Attributes:
      losses: (params, state, batch) -> gradients, (new state, metrics).
      draw: (params, state, values, has, weights) -> images.
    """

    model: Model
    params: Any
    state: Any
    losses: Any
    draw: Any


def config_of(setup):
    """All tokens are handed on, generated images are judged, and all that is there is given."""
    config = tiny_config(setup.inputs)
    config.generator.name = family = setup.family
    if family == "dalle":  # draws the codes of 4 x 4 places
        config.tokenizer.family, config.objective.recovery_patch_size = "vqvae", 2
        # The likeliest of many codes: noise would hide small differences.
        config.generator.dalle.sample.temperature, config.generator.vqvae.codebook_size = 0.0, 512
    if family == "vqvae":  # whose codes come from its prior as `dalle`'s from its network
        config.generator.vqvae.quantizer = "kl"
    config.fusion.pool_tokens = False
    config.fusion.keep_all_rate, config.fusion.drop_all_rate = 1.0, 0.0
    for name in setup.names:
        config.modalities[name].generated_weight = 0.1
    return config


@functools.lru_cache
def assets_of(setup):
    config = config_of(setup)
    return models.fit(config, open_source(config))


@functools.lru_cache
def build(setup):
    # The same for every order of the modalities.
    assets = assets_of(setup._replace(inputs=tuple(sorted(setup.inputs))))
    return models.build(config_of(setup), assets)


@functools.lru_cache
def compiled(setup):
    model, family = build(setup), setup.family
    init = functools.partial(models.init, model)
    params, state = random_parameters(init, equalized=family == "stylegan")
    losses = jax.jit(gradients(model))
    if family == "dalle":  # a code differs only where a condition says much
        params = sharpened(params)
    if jax.tree.leaves(state):  # averages and counters cannot be just any number: a batch's
        state = jax.jit(lambda key: init(key)[1])(jax.random.key(0))
        state = losses(params, state, batch(setup))[1][0]
    return Compiled(model, params, state, losses, jax.jit(drawing(setup)))


def sharpened(params):
    """What a condition says to the generator, many times as large."""

    def scale(path, leaf):
        louder = re.search(
            r"generator/(pooled|condition|transformer/layers/out)/kernel", path_name(path)
        )
        return 8 * leaf if louder else leaf

    return jax.tree_util.tree_map_with_path(scale, params)


def gradients(model):
    def losses(params, state, batch):
        key = jax.random.key(5)
        return jax.grad(lambda p: objective(model, p, state, batch, key, 1), has_aux=True)(params)

    return losses


def drawing(setup):
    """Samples of a row for every subset, all with the same key: only conditions tell them apart."""
    model, options = build(setup), sample_options(config_of(setup))

    def draw(params, state, values, has, weights):
        keys = jnp.repeat(jax.random.key(9)[None], setup.rows)
        return sample(model, params, state, values, has, weights, keys, options)

    return draw


@functools.lru_cache
def batch(setup):
    found = tiny_batch(setup.inputs, setup.rows)
    return found._replace(has=jax.tree.map(jnp.asarray, setup.has))


def same_condition(setup):
    """Every row holds the values of the first."""
    return jax.tree.map(lambda x: jnp.repeat(x[:1], setup.rows, axis=0), batch(setup).values)


def per_row(setup, weights):
    return {name: jnp.full(setup.rows, weights[name]) for name in setup.names}


def fill(values, has, kind):
    """`values` with NaN, infinity or random bits wherever `has` says that nothing is there."""
    rng = np.random.default_rng(3)

    def vandalise(x, rows):
        x = np.array(x)
        if x.dtype == bool:
            garbage = rng.random(x.shape) < 0.5
        elif kind == "bits" or x.dtype != np.float32:
            garbage = rng.integers(-(2**31), 2**31, x.shape, np.int32).view(x.dtype)
        else:
            garbage = np.full(x.shape, {"nan": np.nan, "inf": np.inf}[kind], x.dtype)
        x[rows] = garbage[rows]
        return jnp.asarray(x)

    return {
        name: jax.tree.map(lambda x, m=name: vandalise(x, ~np.asarray(has[m])), value)
        for name, value in values.items()
    }


def assert_same_bits(one, other):
    def check(path, a, b):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(check, one, other)


@every
@pytest.mark.parametrize("kind", ["nan", "inf", "bits"])
def test_the_bits_of_an_absent_value_do_not_matter(setup, kind):
    it = compiled(setup)
    vandalised = batch(setup)._replace(values=fill(batch(setup).values, setup.has, kind))
    expected = it.losses(it.params, it.state, batch(setup))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    assert_same_bits(it.losses(it.params, it.state, vandalised), expected)

    weights = per_row(setup, WEIGHTS)
    expected = it.draw(it.params, it.state, batch(setup).values, batch(setup).has, weights)
    assert_same_bits(
        it.draw(it.params, it.state, vandalised.values, batch(setup).has, weights), expected
    )


@every
def test_what_is_present_does_matter(setup):
    """The test above could not fail otherwise."""
    it = compiled(setup)
    expected = it.losses(it.params, it.state, batch(setup))[0]
    for name in setup.names:
        rolled = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), batch(setup).values[name])
        changed = batch(setup)._replace(values=batch(setup).values | {name: rolled})
        found = it.losses(it.params, it.state, changed)[0]
        gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found, expected)
        assert max(jax.tree.leaves(gaps)) > 1e-4, name


@every
def test_a_modality_that_no_example_has_gets_no_gradient(setup):
    it = compiled(setup)

    def largest(tree):
        return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

    for name in setup.names:
        present = {other: np.full(setup.rows, other != name) for other in setup.names}
        grads, _ = it.losses(it.params, it.state, batch(setup)._replace(has=present))
        encoders = grads["encoders"]
        for other in setup.names:
            for part in (encoders[other], grads["recovery"][other]):
                assert (largest(part) == 0) == (other == name), (name, other)
        # What marks tokens learns where the family looks at tokens, the null token among them.
        marks, looks = encoders["fusion"]["mark"], largest(encoders["fusion"]["null"]) > 0
        moved = {other for other in setup.names if largest(marks[other]) > 0}
        assert moved == (set(setup.names) - {name} if looks else set()), name


@flow_alone
def test_the_order_of_modalities_does_not_matter(setup):
    it, backwards = compiled(setup), setup._replace(inputs=setup.inputs[::-1])
    other = build(backwards)
    assert tuple(other.modalities) == backwards.names

    def loss(params, state, batch):
        return objective(other, params, state, batch, jax.random.key(5), 1)[1]

    _, metrics = jax.jit(loss)(it.params, it.state, batch(setup))
    _, (_, expected) = it.losses(it.params, it.state, batch(setup))
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-5, err_msg=name)

    inputs = (it.params, it.state, batch(setup).values, batch(setup).has, per_row(setup, WEIGHTS))
    images = jax.jit(drawing(backwards))(*inputs)
    np.testing.assert_allclose(images, it.draw(*inputs), rtol=0, atol=1e-5)


@every
def test_every_subset_samples(setup):
    it = compiled(setup)
    ones = per_row(setup, dict.fromkeys(setup.names, 1.0))
    images = np.asarray(it.draw(it.params, it.state, same_condition(setup), setup.has, ones))
    assert np.isfinite(images).all() and np.abs(images).max() <= 1
    assert len({image.tobytes() for image in images}) == setup.rows


# Guidance, within one batch of one program. Condition passes that are written down here stand
# beside those that `guide` makes.

CASES = {
    "conditional": dict.fromkeys(WEIGHTS, 1.0),
    "unconditional": dict.fromkeys(WEIGHTS, 0.0),
    "ordinary": dict.fromkeys(WEIGHTS, 3.0),
    "without label": WEIGHTS | {"label": 0.0},
    "label absent": WEIGHTS,
    "label absent, of weight 0": WEIGHTS | {"label": 0.0},
}
WRITTEN = {"conditional": 1.0, "unconditional": 0.0, "ordinary": 3.0}


def encodings(model, rows):
    """Made up, one for all rows: what the encoders say is not at issue here."""
    rng, made = np.random.default_rng(0), {}

    def noise(*shape):
        return jnp.repeat(jnp.asarray(rng.normal(size=(1, *shape)), jnp.float32), rows, axis=0)

    for name in model.modalities:
        tokens = noise(2, model.shared.width)
        mean, log_precision = noise(model.shared.pooled), noise(model.shared.pooled)
        present = jnp.array([name != "label" or "absent" not in case for case in CASES])
        present = present if rows == len(CASES) else jnp.ones(rows, bool)
        mask = jnp.ones((rows, 2), bool) & present[:, None]
        made[name] = Encoding(tokens, mask, mean, log_precision, present)
    return made


def written_down(params, model):
    """(1 - w) * unconditional + w * conditional, in as many passes as `guide` makes."""
    h, rows, count = encodings(model, len(WRITTEN)), len(WRITTEN), len(model.modalities)
    none = fusion.fuse(params, h, {name: jnp.zeros(rows, bool) for name in h})
    every = fusion.fuse(params, h, {name: jnp.ones(rows, bool) for name in h})
    weight = jnp.array(list(WRITTEN.values()))
    zeros = [jnp.zeros(rows)] * (count - 1)
    return [none] + [every] * count, jnp.stack([1 - weight, *zeros, weight])


@functools.lru_cache
def guided(setup):
    """({case: image} through `guide`, {case: image} through passes written down)."""
    it = compiled(setup)
    params, passes, rows = it.params["encoders"]["fusion"], len(setup.names) + 1, len(CASES)
    weights = {m: jnp.array([case[m] for case in CASES.values()]) for m in setup.names}
    guidance = guide(params, encodings(it.model, rows), weights)
    positions = guidance.condition.positions
    made = guidance.condition._replace(positions=None)
    written, coefficients = written_down(params, it.model)
    conditions = []
    for k, condition in enumerate(written):
        part = jax.tree.map(lambda x, k=k: x.reshape(passes, rows, *x.shape[1:])[k], made)
        conditions += [part, condition._replace(positions=None)]
    joined = jax.tree.map(lambda *x: jnp.concatenate(x), *conditions)._replace(positions=positions)
    both = Guidance(joined, jnp.concatenate([guidance.coefficients, coefficients], axis=1))
    options = sample_options(config_of(setup))
    keys = jnp.repeat(jax.random.key(2)[None], rows + len(WRITTEN))
    draw = jax.jit(lambda *inputs: it.model.generator.sample(*inputs, options))
    images = np.asarray(draw(it.params, it.state, both, keys))
    assert np.isfinite(images).all()
    by_case = dict(zip(CASES, images[:rows], strict=True))
    return by_case, dict(zip(WRITTEN, images[rows:], strict=True))


@every
@pytest.mark.parametrize("case", WRITTEN)
def test_equal_weights_are_ordinary_guidance_between_its_two_ends(setup, case):
    images, written = guided(setup)
    np.testing.assert_array_equal(images[case], written[case])


@every
def test_a_weight_of_zero_removes_its_modality(setup):
    images, _ = guided(setup)
    removed = images["without label"]
    np.testing.assert_array_equal(images["label absent, of weight 0"], removed)
    # With a weight of its own the telescope has one pass more, which takes back what the next one
    # adds: equal but for the rounding of that sum.
    np.testing.assert_allclose(images["label absent"], removed, rtol=0, atol=1e-5)


@every
def test_weights_matter(setup):
    """The tests above could not fail otherwise."""
    images, _ = guided(setup)
    distinct = [images[case].ravel() for case in [*WRITTEN, "without label"]]
    gaps = [np.abs(a - b).max() for a, b in itertools.combinations(distinct, 2)]
    assert min(gaps) > 1e-2
