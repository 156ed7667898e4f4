"""The augmentation against NumPy and SciPy, its randomness against the paper's distributions."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.test_util import check_grads

from mmgen_jax.errors import InputError
from mmgen_jax.generators.stylegan import augment as augment_module
from mmgen_jax.generators.stylegan.augment import (
    Draw,
    adapt,
    augment,
    colours,
    draw,
    source,
    transform,
)
from mmgen_jax.generators.stylegan.augmentations import Augmentations, parse

BLIT, GEOMETRY, COLOUR = parse("blit"), parse("geometry"), parse("colour")
ALL = parse("blit+geometry+colour")
ONE = jnp.float32(1)


def _images(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def _keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def _forced(**values) -> Draw:
    return Draw(*(jnp.asarray(value, jnp.float32) for value in Draw(**values)))


@functools.cache
def _program(kinds):
    return jax.jit(jax.vmap(partial(draw, kinds=kinds), in_axes=(0, None)))


@functools.cache
def _draws(probability=1.0, kinds=ALL) -> tuple[np.ndarray, Draw]:
    """Of 4,000 pictures."""
    return jax.device_get(_program(kinds)(_keys(4000), jnp.float32(probability)))


_compiled = jax.jit(transform, static_argnums=2)


def _transform(image, kinds, **values):
    return np.asarray(_compiled(image, _forced(**values), kinds))


def test_probability_of_zero_returns_the_bits():
    images = _images(4, 8, 8, 3)
    images[0, 0, :3, 0] = -0.0, np.nan, np.inf
    same = jax.jit(augment, static_argnums=3)(images, _keys(4), jnp.float32(0), ALL)
    np.testing.assert_array_equal(np.asarray(same).view(np.uint32), images.view(np.uint32))


def test_without_augmentations_nothing_happens():
    images = jnp.asarray(_images(2, 4, 4, 1))
    assert augment(images, _keys(2), ONE, Augmentations()) is images


# ---- blits, which are exact, whether or not geometry then interpolates ----

BOTH = pytest.mark.parametrize("kinds", [BLIT, parse("blit+geometry")], ids=["blit", "geometry"])


@BOTH
@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 7, 1), (6, 9, 3)])
def test_flip_is_numpys(shape, kinds):
    image = _images(*shape)
    np.testing.assert_array_equal(_transform(image, kinds, flip=1), np.flip(image, axis=1))


@BOTH
@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turn_is_numpys(turns, size, kinds):
    image = _images(size, size, 3)
    np.testing.assert_array_equal(
        _transform(image, kinds, quarter_turn=turns), np.rot90(image, turns)
    )


@BOTH
@pytest.mark.parametrize(("down", "right"), [(3, -2), (-4, 0), (7, 1)])
def test_translation_moves_whole_pixels_and_reflects(down, right, kinds):
    image = _images(8, 16, 3)
    padded = np.pad(image, ((7, 7), (7, 7), (0, 0)), mode="reflect")
    expected = padded[7 - down :, 7 - right :][:8, :16]
    # Less than half a pixel off: it is rounded.
    share = [(down + 0.3) / 8, (right - 0.3) / 16]
    np.testing.assert_array_equal(_transform(image, kinds, translation=share), expected)


# ---- geometry ----


def _affine(image, matrix, move):
    """What SciPy makes of pixel p of the picture going to matrix @ p + move, from the middle."""
    middle = (np.array(image.shape[:2]) - 1) / 2
    inverse = np.linalg.inv(matrix)
    offset = middle - inverse @ (middle + move)
    layers = [
        scipy.ndimage.affine_transform(layer, inverse, offset, order=1, mode="mirror")
        for layer in np.moveaxis(image, -1, 0)
    ]
    return np.stack(layers, axis=-1)


def _turn(angle):
    """Counter-clockwise, of (row, column): what is right, (0, 1), goes up, (-1, 0)."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize(
    ("values", "matrix", "move"),
    [
        ({"scale": 1.7}, 1.7 * np.eye(2), (0, 0)),
        ({"scale": 0.3}, 0.3 * np.eye(2), (0, 0)),
        ({"rotation_before": 0.4}, _turn(0.4), (0, 0)),
        ({"rotation_after": -2.5}, _turn(-2.5), (0, 0)),
        ({"anisotropic_scale": 1.3}, np.diag([1 / 1.3, 1.3]), (0, 0)),
        ({"fractional_translation": (0.13, -0.21)}, np.eye(2), (0.13 * 12, -0.21 * 17)),
    ],
    ids=str,
)
def test_geometry_is_scipys(values, matrix, move):
    image = _images(12, 17, 3)
    expected = _affine(image, matrix, np.array(move))
    np.testing.assert_allclose(_transform(image, GEOMETRY, **values), expected, atol=1e-5)


def test_rotation_turns_as_a_quarter_turn_does():
    image = _images(9, 9, 3)
    turned = _transform(image, GEOMETRY, rotation_before=np.pi / 2)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-5)


def test_geometry_is_applied_in_the_papers_order():
    """Takes points forward, one transformation after the other; `source` must find them back."""
    height, width = 12, 20
    _, drawn = _draws()
    found = jax.jit(jax.vmap(partial(source, height=height, width=width)))(drawn)
    size = np.array([height, width])
    for i in range(16):
        one = Draw(*(np.asarray(value[i], np.float64) for value in drawn))
        start = point = np.random.default_rng(i).uniform(-10, 10, 2)
        point = np.array([point[0], -point[1] if one.flip else point[1]])
        point = _turn(np.pi / 2 * one.quarter_turn) @ point
        point = point + np.round(one.translation * size)
        point = _turn(one.rotation_before) @ (point * one.scale)
        point = _turn(one.rotation_after) @ (
            point * [1 / one.anisotropic_scale, one.anisotropic_scale]
        )
        point = point + one.fractional_translation * size
        np.testing.assert_allclose(found[i] @ np.array([*point, 1]), [*start, 1], atol=1e-4)


@pytest.mark.parametrize(
    "values",
    [
        {"scale": 0.01, "rotation_before": 3.0},
        {"fractional_translation": (30.0, -17.3)},
        {"anisotropic_scale": 40.0, "rotation_after": 1.0},
        {"scale": 1e4},
    ],
    ids=str,
)
def test_borders_are_reflected_without_end(values):
    image = _images(6, 5, 3)
    out = _transform(image, GEOMETRY, **values)
    # False for NaN as well.
    assert (out >= image.min() - 1e-6).all() and (out <= image.max() + 1e-6).all()


@pytest.mark.parametrize("values", [{}, {"scale": 0.21, "rotation_before": 3.0}], ids=str)
def test_reads_no_pixel_beyond_the_picture(values, monkeypatch):
    """Which `_pixels` promises the compiler, whatever the weight."""
    read = augment_module._pixels

    def checked(image, rows, columns):
        assert rows.min() >= 0 and rows.max() <= 5 and columns.min() >= 0 and columns.max() <= 8
        calls.append(rows)
        return read(image, rows, columns)

    calls = []
    monkeypatch.setattr(augment_module, "_pixels", checked)
    transform(jnp.zeros((6, 9, 1)), _forced(**values), GEOMETRY)
    assert len(calls) == 4


# ---- colour ----

AXIS = np.array([1, 1, 1, 0]) / np.sqrt(3)
LUMA = np.outer(AXIS, AXIS)


def _brightness(value):
    return np.eye(4) + value * np.outer([1, 1, 1, 0], [0, 0, 0, 1])


def _contrast(value):
    return np.diag([value, value, value, 1])


def _luma_flip(value):
    return np.eye(4) - 2 * value * LUMA  # Householder's reflection


def _hue(angle):
    x, y, z = AXIS[:3]
    cross = np.zeros((4, 4))
    cross[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    return np.eye(4) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues


def _saturation(value):
    return LUMA + (np.eye(4) - LUMA) @ np.diag([value, value, value, 1])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"brightness": 0.3}, lambda x: x + 0.3),
        ({"contrast": 1.6}, lambda x: x * 1.6),
        ({"luma_flip": 1}, lambda x: x - 2 * x.mean(-1, keepdims=True)),
        ({"hue": 2 * np.pi / 3}, lambda x: np.roll(x, 1, axis=-1)),
        ({"hue": np.pi}, lambda x: 2 * x.mean(-1, keepdims=True) - x),
        ({"saturation": 0.0}, lambda x: np.broadcast_to(x.mean(-1, keepdims=True), x.shape)),
        ({"saturation": 2.0}, lambda x: 2 * x - x.mean(-1, keepdims=True)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",  # no address of a function
)
def test_colour_alone(values, expected):
    image = _images(5, 4, 3)
    np.testing.assert_allclose(_transform(image, COLOUR, **values), expected(image), atol=1e-5)


def test_colours_are_the_papers_product_of_matrices():
    _, drawn = _draws()
    found = jax.jit(jax.vmap(colours))(drawn)
    for i in range(16):
        one = Draw(*(np.asarray(value[i], np.float64) for value in drawn))
        matrix = _contrast(one.contrast) @ _brightness(one.brightness)
        matrix = _saturation(one.saturation) @ _hue(one.hue) @ _luma_flip(one.luma_flip) @ matrix
        np.testing.assert_allclose(found[i], matrix[:3], atol=1e-5)


def test_colour_asks_for_three_channels():
    grey = jnp.zeros((2, 4, 4, 1))
    with pytest.raises(InputError, match="colour with 1 channels; allowed: 3, or .*flip, quarter"):
        augment(grey, _keys(2), ONE, parse("flip+hue"))
    run = partial(augment, kinds=parse("blit+geometry"))
    assert jax.eval_shape(run, grey, _keys(2), ONE).shape == grey.shape


# ---- chance ----


def _changed(drawn: Draw) -> dict[str, float]:
    """The share of pictures to which each transformation did something."""
    neutral = Draw()
    return {
        name: np.mean((getattr(drawn, name) != getattr(neutral, name)).reshape(4000, -1).any(1))
        for name in Draw._fields
    }


@pytest.mark.parametrize("probability", [0.1, 0.6, 1.0])
def test_each_transformation_happens_with_its_probability(probability):
    _, drawn = _draws(probability=probability)
    each = 1 - np.sqrt(1 - probability)  # of two rotations
    # Half of the flips and a quarter of the turns drawn are the identity.
    shares = {"flip": 0.5, "luma_flip": 0.5, "quarter_turn": 0.75}
    for name, share in _changed(drawn).items():
        expected = each if "rotation" in name else probability * shares.get(name, 1)
        deviation = np.sqrt(expected * (1 - expected) / 4000)
        assert abs(share - expected) <= 4 * deviation + 1e-9, name
    either = np.mean((drawn.rotation_before != 0) | (drawn.rotation_after != 0))
    assert abs(either - probability) <= 4 * np.sqrt(probability * (1 - probability) / 4000) + 1e-9


def test_transformations_happen_independently():
    _, drawn = _draws(probability=0.5)
    pairs = zip(drawn, Draw(), strict=True)
    _assert_independent([(value != neutral).reshape(4000, -1).any(1) for value, neutral in pairs])


def test_values_are_independent():
    """Those of both rotations, and of both directions of a translation, too."""
    _assert_independent(np.concatenate([value.reshape(4000, -1).T for value in _draws()[1]]))


def _assert_independent(rows):
    between = np.corrcoef(np.array(rows, float))
    assert np.abs(between - np.eye(len(between))).max() < 4 / np.sqrt(4000)


def test_multipliers_scale_the_probability():
    kinds = Augmentations(contrast=0.5, hue=0.0, brightness=1.0)
    happens, drawn = _draws(probability=0.4, kinds=kinds)
    changed = _changed(drawn)
    assert abs(changed["contrast"] - 0.2) < 0.03
    assert abs(changed["brightness"] - 0.4) < 0.03
    assert sum(changed.values()) == changed["contrast"] + changed["brightness"]
    assert abs(happens.mean() - (1 - 0.8 * 0.6)) < 0.03


PI = np.pi / np.sqrt(3)  # standard deviation of a uniform angle


@pytest.mark.parametrize(
    ("name", "read", "deviation", "reach"),
    [
        ("translation", lambda v: v.ravel(), 0.125 / np.sqrt(3), 0.125),
        ("scale", np.log2, 0.2, 1.2),
        ("rotation_before", np.array, PI, np.pi),
        ("anisotropic_scale", np.log2, 0.2, 1.2),
        ("rotation_after", np.array, PI, np.pi),
        ("fractional_translation", lambda v: v.ravel(), 0.125, 0.75),
        ("brightness", np.array, 0.2, 1.2),
        ("contrast", np.log2, 0.5, 3),
        ("hue", np.array, PI, np.pi),
        ("saturation", np.log2, 1.0, 6),
    ],
)
def test_values_have_the_papers_distribution(name, read, deviation, reach):
    _, drawn = _draws()
    values = read(getattr(drawn, name))
    assert abs(values.mean()) < 4 * deviation / np.sqrt(4000)
    assert abs(values.std() / deviation - 1) < 4 / np.sqrt(2 * 4000)
    # A uniform value comes near its bound, a normal one goes far beyond twice its deviation.
    assert 1.7 * deviation < np.abs(values).max() <= reach
    if reach > 2 * deviation:
        assert np.abs(values).max() > 3 * deviation


def test_all_quarter_turns_are_as_frequent():
    turns, counts = np.unique(_draws()[1].quarter_turn, return_counts=True)
    np.testing.assert_array_equal(turns, [0, 1, 2, 3])
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(4000 * 0.25 * 0.75)


def test_one_more_transformation_changes_no_other():
    _, few = _draws(probability=0.7, kinds=parse("flip+hue"))
    _, many = _draws(probability=0.7)
    np.testing.assert_array_equal(few.flip, many.flip)
    np.testing.assert_array_equal(few.hue, many.hue)


def test_every_example_stands_alone():
    """By its key, wherever it stands in whatever batch."""
    images, keys = _images(6, 8, 8, 3), _keys(6)
    run = jax.jit(augment, static_argnums=3)
    whole = np.asarray(run(images, keys, jnp.float32(0.8), ALL))
    assert (np.abs(whole - images).max(axis=(1, 2, 3)) > 0.05).all()
    for k in range(6):
        alone = run(images[k : k + 1], keys[k : k + 1], jnp.float32(0.8), ALL)
        np.testing.assert_allclose(alone[0], whole[k], atol=1e-6)
    back = run(images[::-1].copy(), keys[::-1], jnp.float32(0.8), ALL)
    np.testing.assert_allclose(back[::-1], whole, atol=1e-6)


# ---- gradients ----


@pytest.mark.parametrize("kinds", [BLIT, ALL], ids=["blit", "all"])
def test_gradient_is_the_transpose(kinds):
    """<A x, y> = <x, A' y> for the linear part A, and the map is affine."""
    with jax.enable_x64(True):
        run = jax.jit(partial(augment, keys=_keys(8), probability=ONE, kinds=kinds))
        shape = (8, 6, 6, 3)
        x, y, z = (jnp.asarray(_images(*shape, dtype=np.float64, seed=s)) for s in range(3))
        moved, transpose = jax.vjp(run, z)
        assert moved.dtype == jnp.float64
        forward = jnp.vdot(run(x + z) - moved, y)
        np.testing.assert_allclose(forward, jnp.vdot(x, transpose(y)[0]), rtol=1e-10)


def test_gradient_penalty_is_differentiable():
    """R1 (Mescheder et al. 2018, equation 9) through the augmentation, by finite differences."""
    with jax.enable_x64(True):
        images = jnp.asarray(_images(3, 5, 5, 3, dtype=np.float64))
        weights = jnp.asarray(_images(3, 5, 5, 3, dtype=np.float64, seed=1))
        run = partial(augment, keys=_keys(3, seed=1), probability=ONE, kinds=ALL)

        @jax.jit
        def penalty(images):
            logits = lambda x: jnp.sum(jnp.tanh(weights * run(x)))  # noqa: E731
            return jnp.sum(jnp.square(jax.grad(logits)(images)))

        assert float(penalty(images)) > 0
        check_grads(penalty, (images,), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_keeps_the_dtype(dtype):
    images = jnp.asarray(_images(2, 8, 8, 3), dtype)
    assert jax.eval_shape(partial(augment, kinds=ALL), images, _keys(2), ONE).dtype == dtype


# ---- the adaptive probability ----


@pytest.mark.parametrize(
    ("probability", "signs", "expected"),
    [
        (0.5, 0.9, 0.51),
        (0.5, 0.2, 0.49),
        (0.5, 0.6, 0.5),
        (0.995, 1.0, 1.0),
        (0.005, -1.0, 0.0),
    ],
)
def test_adapts_towards_the_target(probability, signs, expected):
    new = adapt(jnp.float32(probability), jnp.float32(signs), 0.6, 0.01)
    np.testing.assert_allclose(new, expected, atol=1e-7)
