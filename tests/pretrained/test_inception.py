"""Inception-v3 as the FID has it: torch-fidelity's numbers, and what is refused of a file."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mmgen_jax.errors import InputError
from mmgen_jax.pretrained import inception, weight_files
from tests.pretrained import inception_recipe as recipe

GOLDEN = json.loads((Path(__file__).parent / "inception_golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A state dict of theirs."""
    images = np.zeros((1, inception.SIDE, inception.SIDE, 3), np.float32)
    shapes = weight_files.parameter_shapes(inception.Inception().init, images)
    places = dict(inception.place(name, shape) for name, shape in shapes.items())
    arrays = {key: recipe.weight(key, place.file_shape) for key, place in places.items()}
    arrays["fc.bias"] = recipe.weight("fc.bias", (inception.CLASSES,))
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    safetensors.numpy.save_file(arrays, path)
    return path


def test_features_are_torch_fidelitys(file):
    """Theirs are given in float32, after float64."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), inception.load(file))
        images = jnp.asarray(recipe.pictures(), jnp.float64)
        found = jax.jit(inception.Inception().apply)({"params": params}, images)
        ours = recipe.summary({name: np.asarray(found[name]) for name in recipe.FEATURES})
    assert ours.keys() == GOLDEN.keys()
    for name, expected in GOLDEN.items():
        scale = np.abs(expected["first"]).max()
        np.testing.assert_allclose(ours[name]["first"], expected["first"], atol=1e-6 * scale)
        np.testing.assert_allclose(ours[name]["moments"], expected["moments"], rtol=1e-6)


def test_a_key_too_few_or_of_another_shape_is_named(file, tmp_path):
    arrays = safetensors.numpy.load_file(file)
    gone, path = "Mixed_6b.branch7x7_2.bn.running_var", tmp_path / "other.safetensors"
    safetensors.numpy.save_file({k: v for k, v in arrays.items() if k != gone}, path)
    with pytest.raises(InputError, match=rf"key {gone} is missing; expected: an array of shape"):
        inception.load(path)
    arrays["fc.weight"] = arrays["fc.weight"][:1_000]
    safetensors.numpy.save_file(arrays, path)
    expected = r"fc.weight has shape \[1000, 2048\]; expected: \[1008, 2048\], for the Inception-v3"
    with pytest.raises(InputError, match=expected):
        inception.load(path)
