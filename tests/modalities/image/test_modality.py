"""Modality `image`: pictures, and a Gaussian's log-density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from mmgen_jax.errors import InputError
from mmgen_jax.modalities import ReaderSizes, Shared
from mmgen_jax.modalities.image.keys import IMAGE
from tests.tiny import input_options, open_source, random_parameters, tiny_config

SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))


@pytest.fixture(scope="module")
def image():
    config = tiny_config()
    options = input_options("image")
    return IMAGE.build(options, SHARED, IMAGE.fit(options, open_source(config)))


@pytest.fixture(scope="module")
def params(image):
    return random_parameters(image.init)


def picture(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def test_prepare_and_show_are_inverse(image):
    raw = picture(16, 16, 3)
    value = image.prepare(raw)["picture"]
    assert value.shape == (16, 16, 3) and value.dtype == np.float32
    assert -1 <= value.min() < value.max() <= 1
    np.testing.assert_array_equal(image.show({"picture": value}), raw)
    absent = image.absent["picture"]
    assert absent.shape == value.shape and absent.dtype == value.dtype


@pytest.mark.parametrize("shape", [(7, 5, 3), (16, 40, 3), (100, 64, 3), (1, 1, 3)])
def test_any_size_is_taken(image, shape):
    value = image.prepare(picture(*shape))["picture"]
    assert value.shape == (16, 16, 3) and np.abs(value).max() <= 1


@pytest.mark.parametrize(
    "raw",
    [
        picture(16, 16),
        picture(16, 16, 1),
        picture(16, 16, 4),
        picture(16, 16, 3, dtype=np.float32),
        picture(2, 16, 16, 3),
    ],
    ids=["grey", "one channel", "alpha", "float", "video"],
)
def test_a_picture_of_the_wrong_kind_is_refused_in_one_line(image, raw):
    with pytest.raises(
        InputError, match=r"^picture of type .* must be uint8 \[height, width, 3\]$"
    ):
        image.prepare(raw)


def test_parse_reads_a_file(image, tmp_path):
    raw = picture(16, 16, 3)
    Image.fromarray(raw).save(tmp_path / "x.png")
    np.testing.assert_array_equal(image.parse(str(tmp_path / "x.png")), raw)
    with pytest.raises(InputError):
        image.parse(str(tmp_path / "missing.png"))


def test_an_encoding_is_one_token_per_patch(image, params):
    pictures = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)), jnp.float32)
    encode = jax.jit(image.encode)
    encoding = encode(params["encoders"], {"picture": pictures})
    assert encoding.tokens.shape == (3, 4, SHARED.width) and encoding.mask.all()
    # Where things are counts: the same patches elsewhere say something else.
    flipped = encode(params["encoders"], {"picture": jnp.roll(pictures, 8, axis=2)})
    assert np.abs(flipped.mean - encoding.mean).max() > 1e-3


def test_recovery_is_the_gaussian_log_density_per_value(image, params):
    rng = np.random.default_rng(1)
    prediction = rng.uniform(-1, 1, (16, 16, 3))
    # The head is made to predict this picture, whatever it sees.
    head = dict(params["recovery"])
    head["picture"] = {
        "kernel": jnp.zeros_like(head["picture"]["kernel"]),
        "bias": jnp.asarray(prediction.ravel(), jnp.float32),
    }
    offsets = np.array([0.0, 0.099, 0.101, 0.7]).reshape(-1, 1, 1, 1)
    signs = rng.choice([-1, 1], (4, 16, 16, 3))
    pictures = jnp.asarray(prediction + offsets * signs, jnp.float32)
    recovery = jax.jit(image.recover)(head, jnp.zeros((4, 16, 16, 3)), {"picture": pictures}, None)
    density = stats.norm.logpdf(np.asarray(pictures, np.float64), prediction, 0.1)
    np.testing.assert_allclose(recovery.bound, density.mean(axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_array_equal(recovery.correct, [1, 1, 0, 0])
