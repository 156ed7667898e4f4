"""What a generator draws where it draws pixels."""

import jax.numpy as jnp
import numpy as np

from mmgen_jax.generators.codecs import pixels


def test_pixels_are_the_image_itself_and_what_is_beyond_them_is_cut_off():
    codec = pixels(2, 3)
    assert (codec.shape, codec.init(), codec.codes) == ((2, 3, 3), {}, 0)
    images = jnp.linspace(-2, 2, 18).reshape(1, 2, 3, 3)
    np.testing.assert_array_equal(codec.encode({}, images), images)
    np.testing.assert_array_equal(codec.decode({}, images), jnp.clip(images, -1, 1))
