"""A DiT's weights from a file: all keys and dtypes, and what is refused.

That they mean what they do in the authors' code is tested in `test_dit.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mmgen_jax.errors import InputError
from mmgen_jax.pretrained.dit import DiT, sincos_positions
from mmgen_jax.pretrained.dit_weights import load
from tests.pretrained import dit_recipe as recipe

NETWORK = DiT(
    patch_size=2, width=8, depth=2, num_heads=2, dtype=jnp.dtype("float32"), learn_sigma=True
)
KIND = "a DiT of patch 2, width 8, 2 layers, 3 channels, with learn_sigma"
QKV, LABELS = "blocks.1.attn.qkv.weight", "y_embedder.embedding_table.weight"


def arrays(**changes):
    """A state dict of NETWORK's sizes, `pos_embed` included."""
    weights = recipe.state_dict(patch_size=2, width=8, depth=2, channel=3, learn_sigma=True)
    return weights | {"pos_embed": sincos_positions(4, 4, 8)[None]} | changes


def write(folder, found):
    path = folder / "dit.safetensors"
    safetensors.numpy.save_file(found, path)
    return path


def refusal(folder, found, network=NETWORK, channel=3):
    """(the message, the details) of the InputError, each in one line, without the file's name."""
    path = write(folder, found)
    with pytest.raises(InputError) as caught:
        load(path, network, channel)
    lines = (str(caught.value), *caught.value.details)
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in lines)
    lines = [line.removeprefix(f"{path}: ") for line in lines]
    return lines[0], lines[1:]


def test_parameters_are_those_that_the_network_has(tmp_path):
    params, labels = load(write(tmp_path, arrays()), NETWORK, 3)
    inputs = (
        np.zeros((2, 4, 6, 3), np.float32),
        np.zeros(2, np.float32),
        np.zeros((2, 8), np.float32),
    )
    expected = jax.eval_shape(NETWORK.init, jax.random.key(0), *inputs)["params"]
    found = jax.tree.map(lambda x: (type(x), x.shape, x.dtype), params)
    assert found == jax.tree.map(lambda x: (np.ndarray, x.shape, x.dtype), expected)
    np.testing.assert_array_equal(labels, arrays()[LABELS])


def test_queries_keys_and_values_lie_by_heads(tmp_path):
    params, _ = load(write(tmp_path, arrays()), NETWORK, 3)
    theirs, ours = arrays()[QKV], params["layers"]["qkv"]["kernel"][1]
    for part in range(3):
        for head in range(2):
            for channel in range(4):
                np.testing.assert_array_equal(
                    ours[:, 12 * head + 4 * part + channel], theirs[8 * part + 4 * head + channel]
                )


def test_positions_may_be_left_out(tmp_path):
    found = arrays()
    del found["pos_embed"]
    whole = load(write(tmp_path, arrays()), NETWORK, 3)
    jax.tree.map(np.testing.assert_array_equal, load(write(tmp_path, found), NETWORK, 3), whole)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_halves_are_read_as_float32(tmp_path, dtype):
    halves = {key: array.astype(dtype) for key, array in arrays().items()}
    params, labels = load(write(tmp_path, halves), NETWORK, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, labels))} == {np.dtype("float32")}
    np.testing.assert_array_equal(labels, halves[LABELS].astype(np.float32))
    bias = params["layers"]["hidden"]["bias"][1]
    np.testing.assert_array_equal(bias, halves["blocks.1.mlp.fc1.bias"].astype(np.float32))


# What is refused.


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (QKV, "[24, 8]"),
        ("blocks.0.mlp.fc2.bias", "[8]"),
        ("x_embedder.proj.weight", "[8, 3, 2, 2]"),
        ("final_layer.linear.weight", "[24, 8]"),
        (LABELS, "[any, 8]"),
    ],
)
def test_a_key_that_is_missing_or_of_another_shape_is_named(tmp_path, key, shape):
    found = arrays()
    array = found.pop(key)
    expected = f"key {key} is missing; expected: an array of shape {shape}"
    assert refusal(tmp_path, found) == (expected, [])
    wrong = np.concatenate([array, array], axis=-1)
    expected = f"key {key} has shape {list(wrong.shape)}; expected: {shape}, for {KIND}"
    assert refusal(tmp_path, found | {key: wrong}) == (expected, [])


def test_an_array_with_more_axes_is_refused(tmp_path):
    found = arrays(**{LABELS: np.zeros((4, 8, 8), np.float32)})
    assert "has shape [4, 8, 8]; expected: [any, 8]" in refusal(tmp_path, found)[0]


@pytest.mark.parametrize("key", [QKV, LABELS, "pos_embed"])
def test_another_dtype_is_named(tmp_path, key):
    found = arrays(**{key: arrays()[key].astype(np.int8)})
    assert refusal(tmp_path, found) == (
        f"key {key} is I8; expected: one of F32, F16, BF16, F8_E4M3, F8_E5M2",
        [],
    )


@pytest.mark.parametrize("key", ["blocks.2.attn.qkv.weight", "opt.step"])
def test_a_key_that_is_superfluous_is_named(tmp_path, key):
    found = arrays(**{key: np.zeros(3, np.float32)})
    assert refusal(tmp_path, found)[0] == f"key {key} is superfluous; expected: the keys of {KIND}"


def test_many_faults_have_a_line_each(tmp_path):
    other = DiT(patch_size=2, width=8, depth=3, num_heads=2, dtype=jnp.dtype("float32"))
    message, details = refusal(tmp_path, arrays(), other)
    kind = "a DiT of patch 2, width 8, 3 layers, 3 channels, without learn_sigma"
    assert message == f"10 keys are not those that {kind} asks for"
    assert len(details) == 10 and all("key blocks.2." in line for line in details)
    message, details = refusal(tmp_path, arrays(), channel=4)
    wrong = ["final_layer.linear.bias", "final_layer.linear.weight", "x_embedder.proj.weight"]
    assert sorted(line.split()[1] for line in details) == wrong


@pytest.mark.parametrize(
    "positions", [2 * sincos_positions(4, 4, 8), sincos_positions(2, 3, 8), np.zeros((16, 8))]
)
def test_positions_that_are_not_computed_are_refused(tmp_path, positions):
    found = arrays(pos_embed=positions[None].astype(np.float32))
    message = refusal(tmp_path, found)[0]
    assert message.startswith("key pos_embed has other values than DiT's; expected: the sines")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    path = write(tmp_path, arrays())
    for content in (b"", path.read_bytes()[:-1], b"PK\x03\x04 a pickle of PyTorch"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot read .*dit\.safetensors: "):
            load(path, NETWORK, 3)
    with pytest.raises(InputError, match=r"cannot read .*none\.safetensors: "):
        load(tmp_path / "none.safetensors", NETWORK, 3)
