"""Recovery by contrast: InfoNCE against its definition."""

import jax
import jax.numpy as jnp
import numpy as np

from mmgen_jax.modalities import Encoding, ReaderSizes, Shared
from mmgen_jax.modalities.reader import ContrastiveReader, ImageReader, identity, info_nce
from tests.tiny import random_parameters

SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))
ROWS = 7

run = jax.jit(info_nce)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    query, key = rng.normal(size=(2, ROWS, 4)).astype(np.float32)
    present = np.array([1, 1, 0, 1, 1, 0, 1], bool)
    # Rows 0, 3 and 4 hold the same value; so do 2 and 6, of which 2 is absent.
    identity = np.array([[5, 1], [5, 2], [9, 9], [5, 1], [5, 1], [7, 7], [9, 9]])
    return query, key, present, identity


def definition(query, key, present, identity):
    """(bound, correct, ceiling) of the rows that are present, in float64, by loops."""
    bound, correct, ceiling = np.zeros(ROWS), np.zeros(ROWS), np.zeros(ROWS)
    for i in range(ROWS):
        rivals = [
            j for j in range(ROWS) if present[j] and j != i and (identity[i] != identity[j]).any()
        ]
        scores = query[i].astype(np.float64) @ key[[i, *rivals]].T.astype(np.float64)
        bound[i] = scores[0] - np.log(np.exp(scores).sum()) + np.log(len(scores))
        correct[i] = np.mean(scores[0] > scores[1:]) if rivals else 0.5
        ceiling[i] = np.log(len(scores))
    return bound, correct, ceiling


def test_info_nce_equals_its_definition():
    for seed in range(5):
        query, key, present, identity = inputs(seed)
        recovery = run(query, key, present, identity)
        bound, correct, ceiling = definition(query, key, present, identity)
        np.testing.assert_allclose(recovery.bound[present], bound[present], atol=1e-5)
        np.testing.assert_allclose(recovery.correct[present], correct[present], rtol=1e-6)
        np.testing.assert_allclose(recovery.ceiling[present], ceiling[present], rtol=1e-6)


def test_it_cannot_exceed_the_log_of_what_competes():
    _, key, present, _ = inputs()
    different = np.arange(2 * ROWS).reshape(ROWS, 2)
    sharp = run(100 * key, key / np.linalg.norm(key, axis=1, keepdims=True), present, different)
    assert (recovered := sharp.bound[present]).max() <= np.log(present.sum()) + 1e-5
    assert recovered.max() > np.log(present.sum()) - 1e-3
    assert (sharp.correct[present] == 1).all()


def test_one_alone_has_nothing_to_say():
    query, key, present, identity = inputs()
    only = np.arange(ROWS) == 3
    assert abs(run(query, key, only, identity).bound[3]) < 1e-6
    same = np.zeros_like(identity)
    np.testing.assert_allclose(run(query, key, present, same).bound, np.zeros(ROWS), atol=1e-6)


def test_absent_rows_are_no_rivals():
    query, key, present, identity = inputs()
    other = np.where(present[:, None], key, 50 + key)
    one, two = run(query, key, present, identity), run(query, other, present, identity)
    np.testing.assert_array_equal(one.bound[present], two.bound[present])
    everybody = run(query, other, np.ones(ROWS, bool), identity)
    assert np.abs(everybody.bound - two.bound)[present].max() > 1


def test_what_ranks_images_of_one_value_does_not_depend_on_the_others():
    query, key, present, identity = inputs()
    ranking = run(query, key, present, identity).ranking
    np.testing.assert_allclose(ranking, (query * key).sum(-1), rtol=1e-5)
    only = np.arange(ROWS) == 3
    alone = run(query, key, only, identity).ranking
    np.testing.assert_allclose(alone[3], ranking[3], rtol=1e-6)


def test_the_contrastive_reader_is_scaled_cosine_similarity():
    rng = np.random.default_rng(0)
    _, _, present, identity = inputs()
    images = jnp.asarray(rng.uniform(-1, 1, (ROWS, 16, 16, 3)), jnp.float32)
    mean = jnp.asarray(rng.normal(size=(ROWS, 8)), jnp.float32)
    encoding = Encoding(mean[:, None], jnp.ones((ROWS, 1), bool), mean, mean, jnp.asarray(present))
    reader = ContrastiveReader(SHARED)
    inputs_ = images, encoding, jnp.asarray(identity)
    params = random_parameters(lambda key: reader.init(key, *inputs_))["params"]

    @jax.jit
    def recover(params):
        features = ImageReader(SHARED).apply({"params": params["ImageReader_0"]}, images)
        return features, reader.apply({"params": params}, *inputs_).bound

    for log_scale, scale in ((1.5, np.exp(1.5)), (9.0, np.exp(4.6))):
        features, bound = recover(params | {"log_scale": jnp.float32(log_scale)})

        def unit(name, x):
            dense = jax.tree.map(lambda x: np.asarray(x, np.float64), params[name])
            out = np.asarray(x, np.float64) @ dense["kernel"] + dense["bias"]
            return out / np.linalg.norm(out, axis=1, keepdims=True)

        query, key = scale * unit("query", features), unit("key", mean)
        expected, *_ = definition(query, key, present, identity)
        np.testing.assert_allclose(bound[present], expected[present], rtol=1e-3, atol=1e-3)


def test_a_collapsed_encoder_recovers_no_more_than_chance():
    query, key, present, identity = inputs()
    recovery = run(0 * query, 0 * key, present, np.arange(identity.size).reshape(identity.shape))
    assert (recovery.correct[present] == 0.5).all()


def test_accuracy_can_be_read_where_many_values_mean_the_same():
    """Of 64 sounds, all different, an image shows one of two kinds: 0.75, not 2 of 64."""
    kind = np.arange(64) % 2
    rng = np.random.default_rng(0)
    query = np.stack([kind, 1 - kind], axis=1).astype(np.float32)
    key = query + 1e-3 * rng.normal(size=query.shape).astype(np.float32)
    each = np.arange(64)[:, None]
    recovery = jax.jit(info_nce)(10 * query, key, np.ones(64, bool), each)
    assert abs(recovery.correct.mean() - 0.75) < 0.03
    np.testing.assert_allclose(recovery.ceiling, np.log(64), rtol=1e-6)
    assert abs(recovery.bound.mean() - np.log(2)) < 0.02


def test_every_bit_and_its_place_count_towards_an_identity():
    """Rows that differ in one number anywhere, and rows of the same numbers in another order."""
    rng = np.random.default_rng(0)
    row = rng.uniform(-1, 1, 500).astype(np.float32)
    rows = np.repeat(row[None], 1000, axis=0)
    rows[np.arange(500), np.arange(500)] += 1e-6  # one number each
    for k in range(499):  # two neighbors exchanged
        rows[500 + k, [k, k + 1]] = row[[k + 1, k]]
    found = np.asarray(jax.jit(identity)(rows))
    assert len({words.tobytes() for words in found}) == 1000
    np.testing.assert_array_equal(found, jax.jit(identity)(rows))


def test_an_identity_is_of_all_parts_of_a_value():
    tokens, mask = np.zeros((4, 9), np.int32), np.zeros((4, 9), bool)
    mask[1:, 0], tokens[2, 8], mask[3, 8] = True, 5, True
    found = np.asarray(identity({"tokens": tokens, "mask": mask}))
    assert found.dtype == np.uint32 and found.shape == (4, 2)
    assert len({words.tobytes() for words in found}) == 4
