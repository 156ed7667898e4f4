"""T5's encoder: equal to the module of `transformers` with the same weights, and how it is loaded.

The golden numbers stand in for that module where torch is not installed; where it is, they are
compared with it too (`test_the_golden_numbers_are_those_of_transformers`).
"""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.pretrained.t5 import T5Attention, T5Block, T5Encoder, T5Sizes, relative_buckets
from mmgen_jax.pretrained.t5_weights import MOST, SIZES, load, read_sizes
from tests.launching import python
from tests.t5_files import BIAS, TINY, closed_form, write

FLOAT = jnp.dtype("float32")
GATED = TINY | {"feed_forward_proj": "gated-gelu"}
QUERY = "encoder.block.1.layer.0.SelfAttention.q.weight"
FEED = "encoder.block.0.layer.1.DenseReluDense.wi.weight"

# Positions (row, token) and what stands there after the encoder of `closed_form(config)` has seen
# `sentences()`: the last hidden state of T5EncoderModel of transformers 5.23 and torch 2.13, in
# float32 on a CPU.
PLACES = ([0, 0, 0, 1, 1], [0, 11, 23, 2, 18])
GOLDEN = {
    "relu": [
        [2.076089, 0.210046, 0.090963, -0.960240, -0.066735, -0.051114, 1.943900, -1.205910],
        [-0.095100, 0.699581, -1.757159, 0.339786, -0.466501, 1.295832, 1.487944, 2.190004],
        [2.141191, 0.210443, 0.148424, -0.959790, -0.080983, 0.080355, 1.810852, -1.182042],
        [1.624546, 0.702260, -0.436233, 0.007599, 0.402338, -0.128405, 0.798421, -2.926417],
        [2.186794, 0.152621, 0.085243, -0.944643, 0.282522, -0.033573, 1.654967, -1.302497],
    ],
    "gated-gelu": [
        [1.179174, -0.899795, 0.857084, -0.407774, -1.819525, 0.061965, 1.379598, -0.556536],
        [-1.293129, -0.074183, -2.423450, -0.219619, -1.062619, 0.356571, -1.461508, 1.529985],
        [1.023299, -0.726485, 0.906040, -0.406374, -2.007736, -0.104376, 1.668518, -0.477081],
        [-1.189723, 0.893246, -2.047492, 0.539961, 0.501130, -0.198205, 0.444239, -1.784278],
        [1.399017, -1.091082, 1.622604, -0.200472, 0.149550, 0.135993, 1.297916, -1.320896],
    ],
}


def sentences(length=24, vocabulary=11):
    """Two rows of tokens; the second has two of padding before it and five after it."""
    row, token = np.mgrid[:2, :length]
    mask = (row == 0) | ((token > 1) & (token < length - 5))
    return ((7 * token + 3 * row + token // 5) % vocabulary).astype(np.int32), mask


@functools.cache
def compiled(sizes, dtype=FLOAT):
    encoder = T5Encoder(sizes, dtype)
    return jax.jit(lambda params, tokens, mask: encoder.apply({"params": params}, tokens, mask))


def encode(loaded, tokens, mask, dtype=FLOAT):
    sizes, params = loaded
    return np.asarray(compiled(sizes, dtype)(params, tokens, mask))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The loaded encoders of TINY and GATED."""
    root = tmp_path_factory.mktemp("t5")
    configs = {config["feed_forward_proj"]: config for config in (TINY, GATED)}
    return {
        name: load(write(root / name, config, closed_form(config)))
        for name, config in configs.items()
    }


# --- Numbers, without torch ---


@pytest.mark.parametrize("kind", GOLDEN)
def test_equals_the_golden_numbers(tiny, kind):
    out = encode(tiny[kind], *sentences())
    assert out.shape == (2, 24, 8) and out.dtype == np.float32
    np.testing.assert_allclose(out[PLACES], GOLDEN[kind], atol=2e-5, rtol=0)


def test_distances_share_buckets_on_a_logarithmic_scale():
    """8 x 2^(k/2), rounded up, is where bucket 8 + k begins with T5's 32 buckets up to 128."""
    buckets = relative_buckets(300, 32, 128)
    starts = [*range(9), *(int(np.ceil(8 * 2 ** (k / 2) - 1e-9)) for k in range(1, 8))]
    expected = np.digitize(np.arange(300), starts) - 1
    np.testing.assert_array_equal(buckets[-1], expected[::-1])
    np.testing.assert_array_equal(buckets[0], np.where(np.arange(300) > 0, 16 + expected, 0))
    assert expected[[90, 91, 128, 299]].tolist() == [14, 15, 15, 15]
    # Relative: what lies on a diagonal is in one bucket.
    np.testing.assert_array_equal(buckets[1:, 1:], buckets[:-1, :-1])


@pytest.mark.parametrize("kind", GOLDEN)
def test_what_stands_at_padding_reaches_no_other_token(tiny, kind):
    tokens, mask = sentences()
    out = encode(tiny[kind], tokens, mask)
    padded = encode(tiny[kind], np.where(mask, tokens, (tokens + 4) % 11), mask)
    np.testing.assert_array_equal(padded[mask], out[mask])
    assert np.abs(padded[~mask] - out[~mask]).max() > 0.1
    # And what is not padding reaches all tokens of its row.
    other = encode(tiny[kind], tokens + (np.arange(24) == 12)[None], mask)
    assert (np.abs(other - out).max(axis=2)[mask] > 1e-4).all()


def test_padding_may_stand_before_or_after(tiny):
    """Positions count relative to each other: the same tokens later in the row mean the same."""
    tokens, _ = sentences(12)
    before, after = (np.pad(tokens, ((0, 0), side)) for side in ((9, 0), (0, 9)))
    filled = np.ones(tokens.shape, bool)
    masks = (np.pad(filled, ((0, 0), side)) for side in ((9, 0), (0, 9)))
    late, early = (encode(tiny["relu"], *pair) for pair in zip((before, after), masks, strict=True))
    np.testing.assert_allclose(late[:, 9:], early[:, :12], atol=1e-5)


@pytest.mark.parametrize("kind", GOLDEN)
def test_bfloat16_is_close_to_float32(tiny, kind):
    tokens, mask = sentences()
    half = encode(tiny[kind], tokens, mask, jnp.dtype("bfloat16"))
    assert half.dtype == jnp.bfloat16
    full = encode(tiny[kind], tokens, mask)[mask]
    error = np.abs(half.astype(np.float32)[mask] - full)
    assert 0 < error.mean() < 0.02 * np.abs(full).mean()


def test_norms_softmax_and_sums_are_float32_and_products_are_not(tiny):
    sizes, params = tiny["gated-gelu"]
    layer = jax.tree.map(lambda x: x[0], params["layers"])
    x, mask, bias = jnp.ones((2, 5, 8)), jnp.ones((2, 5), bool), jnp.ones((1, 2, 5, 5))
    block = functools.partial(T5Block(sizes, jnp.dtype("bfloat16")).apply, {"params": layer})
    out, _ = jax.eval_shape(block, x, mask, bias)
    assert out.dtype == jnp.float32
    program = str(jax.make_jaxpr(block)(x, mask, bias))
    found = re.findall(r":(\w+)\[[\w,]*\] = (exp|rsqrt|dot_general)\b", program)
    # The logits are products, and are softmax's input.
    assert sorted(set(found)) == [
        ("bf16", "dot_general"),
        ("f32", "dot_general"),
        ("f32", "exp"),
        ("f32", "rsqrt"),
    ]
    assert found.count(("f32", "dot_general")) == 1


def test_new_queries_are_small_as_logits_are_not_scaled():
    sizes = T5Sizes(9, 64, 16, 8, 1, 4, gated=False)
    attention = T5Attention(sizes, FLOAT)
    inputs = jnp.ones((1, 2, 64)), jnp.ones((1, 2), bool), jnp.ones((1, 4, 2, 2))
    params = jax.jit(attention.init)(jax.random.key(0), *inputs)["params"]
    for name, scale in (("query", 1 / 4), ("key", 1), ("value", 1)):
        assert np.std(params[name]["kernel"]) == pytest.approx(scale / 8, rel=0.05)


# --- Against transformers ---


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch", exc_type=ImportError)
    return pytest.importorskip("transformers", exc_type=ImportError)


def peer(transformers, config, kind="T5EncoderModel"):
    """A T5 of `transformers` with random weights, none of them zero or one."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.T5Config(**config)).eval()
    for name, weight in model.named_parameters():
        scale = 0.3 if "norm" in name or "relative" in name else 1 / np.sqrt(weight.shape[-1])
        scale /= 2 if ".q." in name else 1  # sharper logits would blow up what rounding does
        weight.data += scale * torch.randn_like(weight)
    return model


def hidden_state(model, tokens, mask):
    """The last hidden state of the encoder of a T5 of `transformers`."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        out = model.get_encoder()(torch.as_tensor(tokens).long(), torch.as_tensor(mask))
    return out.last_hidden_state.float().numpy()


@pytest.mark.reference
@pytest.mark.parametrize("kind", GOLDEN)
def test_the_golden_numbers_are_those_of_transformers(transformers, tmp_path, kind):
    config = TINY | {"feed_forward_proj": kind}
    folder = write(tmp_path / kind, config, closed_form(config))
    model, report = transformers.T5EncoderModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    expected = hidden_state(model.eval(), *sentences())
    np.testing.assert_allclose(expected[PLACES], GOLDEN[kind], atol=2e-5, rtol=0)


# Names -> (tokens in a row, config). Six layers are a loop, fewer are unrolled.
LIVE = {
    "v1.0": (
        40,
        dict(d_model=64, d_kv=16, num_heads=4, d_ff=128, num_layers=3, feed_forward_proj="relu"),
    ),
    "v1.1": (
        40,
        dict(
            d_model=48, d_kv=8, num_heads=5, d_ff=96, num_layers=6, feed_forward_proj="gated-gelu"
        ),
    ),
    "v1.1, beyond max_distance": (
        300,
        dict(
            d_model=32, d_kv=12, num_heads=4, d_ff=64, num_layers=2, feed_forward_proj="gated-gelu"
        ),
    ),
    "v1.0, few buckets": (
        120,
        dict(d_model=32, d_kv=8, num_heads=2, d_ff=40, num_layers=2, feed_forward_proj="relu")
        | dict(relative_attention_num_buckets=12, relative_attention_max_distance=50)
        | dict(layer_norm_epsilon=0.01),
    ),
}


@pytest.mark.reference
@pytest.mark.parametrize("name", LIVE)
def test_equals_transformers(transformers, tmp_path, name):
    length, config = LIVE[name]
    model = peer(transformers, config | {"vocab_size": 100})
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    tokens, mask = sentences(length, 100)
    ours, expected = encode(load(tmp_path), tokens, mask), hidden_state(model, tokens, mask)
    assert np.abs(expected[mask]).mean() > 0.5
    np.testing.assert_allclose(ours[mask], expected[mask], atol=1e-4, rtol=0)


@pytest.mark.reference
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_whole_t5_in_shards_equals_transformers(transformers, tmp_path, dtype):
    length, config = LIVE["v1.1"]
    config = config | {"vocab_size": 100, "num_layers": 3}
    model = peer(transformers, config, "T5ForConditionalGeneration")
    model.to(getattr(pytest.importorskip("torch"), dtype))
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    tokens, mask = sentences(length, 100)
    expected = hidden_state(model.float(), tokens, mask)
    ours = encode(load(tmp_path), tokens, mask)
    np.testing.assert_allclose(ours[mask], expected[mask], atol=1e-4, rtol=0)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("buckets", "max_distance"), [(32, 128), (8, 20), (4, 8), (12, 50), (10, 33), (64, 1000)]
)
def test_buckets_equal_those_of_transformers(transformers, buckets, max_distance):
    torch = pytest.importorskip("torch")
    attention = transformers.models.t5.modeling_t5.T5Attention
    offset = torch.arange(1200)[None] - torch.arange(1200)[:, None]
    expected = attention._relative_position_bucket(offset, True, buckets, max_distance)
    np.testing.assert_array_equal(relative_buckets(1200, buckets, max_distance), expected)


# --- Folders ---


def test_sizes_are_read(tmp_path):
    folder = write(tmp_path / "t5", GATED, {"any": np.zeros(1)})
    assert read_sizes(folder / "config.json") == T5Sizes(11, 8, 6, 10, 2, 2, True, 8, 20, 0.01)


def test_old_configs_leave_out_what_was_always_the_same(tmp_path):
    kept = ("model_type", "vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
    folder = write(tmp_path / "t5", {key: TINY[key] for key in kept}, {"any": np.zeros(1)})
    expected = T5Sizes(11, 8, 6, 10, 2, 2, False, buckets=32, max_distance=128, epsilon=1e-6)
    assert read_sizes(folder / "config.json") == expected


@pytest.mark.parametrize("kind", GOLDEN)
def test_parameters_are_those_that_the_encoder_has(tiny, kind):
    sizes, params = tiny[kind]
    expected = jax.eval_shape(T5Encoder(sizes, FLOAT).init, jax.random.key(0), *sentences())
    found = jax.tree.map(lambda x: (type(x), x.shape, x.dtype), params)
    shapes = jax.tree.map(lambda x: (np.ndarray, x.shape, x.dtype), expected["params"])
    assert found == shapes


def test_shards_the_other_name_and_a_decoder_make_no_difference(tiny, tmp_path):
    arrays = closed_form(TINY)
    shared, others = arrays["shared.weight"], {"lm_head.weight": np.ones((11, 8), np.float32)}
    others["decoder.block.0.layer.0.SelfAttention.q.weight"] = np.ones((3, 3), np.int8)
    both = arrays | {"encoder.embed_tokens.weight": shared}
    alone = {key: array for key, array in both.items() if key != "shared.weight"}
    cases = [(arrays, 3), (alone, 1), (both, 1), (both, 2), (alone | others, 1), (both | others, 4)]
    for number, (case, shards) in enumerate(cases):
        found = load(write(tmp_path / str(number), TINY, case, shards))
        jax.tree.map(np.testing.assert_array_equal, found, tiny["relu"])


def write_bits(folder, name, bits):
    """A folder whose arrays are of a type of safetensors, from their bits."""
    header, data = {}, b""
    for key, array in bits.items():
        part = array.tobytes()
        ends = [len(data), len(data) + len(part)]
        header[key], data = {"dtype": name, "shape": array.shape, "data_offsets": ends}, data + part
    text = json.dumps(header).encode()
    write(folder, TINY, {"any": np.zeros(1)})
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


def eight_bits(number, exponent, mantissa):
    """The value of a float of 8 bits by its definition (Micikevicius et al. 2022, table 1)."""
    sign, bias = -1 if number & 128 else 1, 2 ** (exponent - 1) - 1
    power, part = (number & 127) >> mantissa, number % 2**mantissa / 2**mantissa
    return sign * (2.0 ** (power - bias) * (1 + part) if power else 2.0 ** (1 - bias) * part)


@pytest.mark.parametrize(
    ("name", "exponent", "mantissa", "finite"), [("F8_E4M3", 4, 3, 127), ("F8_E5M2", 5, 2, 124)]
)
def test_eight_bits_are_read_exactly_as_float32(tmp_path, name, exponent, mantissa, finite):
    numbers = np.array([n for n in range(256) if n % 128 < finite], np.uint8)
    bits = {key: np.resize(numbers, x.shape) for key, x in closed_form(TINY).items()}
    bits |= {QUERY: np.resize(numbers[::-1], bits[QUERY].shape)}
    _, params = load(write_bits(tmp_path / "t5", name, bits))
    for found, key in (
        (params["layers"]["attention"]["query"]["kernel"][1].T, QUERY),
        (params["layers"]["feed"]["hidden"]["kernel"][0].T, FEED),
        (params["embed"]["embedding"], "shared.weight"),
    ):
        expected = np.vectorize(lambda n: eight_bits(int(n), exponent, mantissa))(bits[key])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "bits"), [("F8_E4M3", 0x7F), ("F8_E5M2", 0x7C), ("F16", 0x7C00), ("BF16", 0x7FC0)]
)
def test_a_weight_that_is_no_number_is_refused(tmp_path, name, bits):
    """Those of T5-XXL overflow in float16, for one."""
    kind = np.uint8 if bits < 256 else np.uint16
    arrays = {key: np.zeros(x.shape, kind) for key, x in closed_form(TINY).items()}
    arrays[QUERY][1, 1] = bits
    with pytest.raises(InputError, match=f"key {QUERY} has values that are no finite numbers"):
        load(write_bits(tmp_path / "t5", name, arrays))


def test_other_types_of_eight_and_four_bits_are_named(tmp_path):
    for name in ("F8_E8M0", "F8_E4M3FNUZ"):
        bits = {key: np.zeros(x.shape, np.uint8) for key, x in closed_form(TINY).items()}
        with pytest.raises(InputError) as error:
            load(write_bits(tmp_path / name, name, bits))
        assert "F8_E4M3" in str(error.value) + str(error.value.details)


@pytest.mark.parametrize("number", [10**8, 10**15, 10**30, 2**63])
@pytest.mark.parametrize("key", [key for key, value in TINY.items() if type(value) is int])
def test_sizes_that_no_model_has_are_refused_at_once(tmp_path, key, number):
    folder = write(tmp_path / "t5", TINY | {key: number}, {"any": np.zeros(1)})
    with pytest.raises(InputError, match=f"{key} is {number}; expected: .*at most"):
        load(folder)


def test_the_largest_sizes_are_compared_in_little_time(tmp_path):
    for key, most in ((SIZES[name], MOST[name]) for name in ("depth", "buckets")):
        sizes = TINY | {SIZES["max_distance"]: MOST["max_distance"], key: most}
        folder = write(tmp_path / key, sizes, {"any": np.zeros(1)})
        with pytest.raises(InputError, match="keys are not those that its config.json asks for"):
            load(folder)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, '"' + "9" * 5000 + '"', "9" * 5000]
)
def test_a_config_that_is_no_object_is_refused(tmp_path, content):
    folder = write(tmp_path / "t5", TINY, {"any": np.zeros(1)})
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot read .*config\.json: "):
        load(folder)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_halves_are_read_exactly_as_float32(tmp_path, dtype):
    """bfloat16 is float32 without its lower 16 bits: a file made of those alone, byte by byte."""
    arrays, name = closed_form(TINY), {jnp.bfloat16: "BF16", np.float16: "F16"}[dtype]
    bits = {key: (x.view(np.uint32) >> 16).astype(np.uint16) for key, x in arrays.items()}
    if dtype is np.float16:
        bits = {key: array.astype(np.float16).view(np.uint16) for key, array in arrays.items()}
    _, params = load(write_bits(tmp_path / "t5", name, bits))
    kept = (arrays[QUERY].view(np.uint32) >> 16 << 16).view(np.float32)
    expected = kept if dtype is jnp.bfloat16 else arrays[QUERY].astype(np.float16)
    found = params["layers"]["attention"]["query"]["kernel"][1].T
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_neither_torch_nor_transformers_is_imported():
    module = "mmgen_jax.pretrained.t5_weights"
    check = f"import sys, {module}; print({{'torch', 'transformers'}} & {{*sys.modules}})"
    done = python("-c", check)
    assert (done.code, done.out) == (0, "set()\n"), done.err


# --- What is refused ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model_type="umt5"), "model_type is 'umt5'; expected: 't5' or 'mt5'"),
        (dict(model_type=None), "model_type is missing; expected: 't5' or 'mt5'"),
        (
            dict(feed_forward_proj="gated-silu"),
            "feed_forward_proj is 'gated-silu'; expected: 'relu' or 'gated-gelu'",
        ),
        (
            dict(d_model=None),
            "d_model is missing; expected: a whole number above 0, and at most 65536",
        ),
        (
            dict(vocab_size=0),
            "vocab_size is 0; expected: a whole number above 0, and at most 16777216",
        ),
        (
            dict(num_layers=2.0),
            "num_layers is 2.0; expected: a whole number above 0, and at most 1024",
        ),
        (
            dict(num_heads=True),
            "num_heads is True; expected: a whole number above 0, and at most 1024",
        ),
        (dict(d_ff="10"), "d_ff is '10'; expected: a whole number above 0, and at most 262144"),
        (
            dict(relative_attention_num_buckets=3),
            "relative_attention_num_buckets is 3; expected: 4 or more",
        ),
        (
            dict(relative_attention_max_distance=2),
            "relative_attention_max_distance is 2; expected: more than a quarter of"
            " relative_attention_num_buckets, 8",
        ),
        (dict(layer_norm_epsilon=0), "layer_norm_epsilon is 0; expected: a number between 0 and 1"),
        (
            dict(layer_norm_epsilon="1e-6"),
            "layer_norm_epsilon is '1e-6'; expected: a number between 0 and 1",
        ),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path, changes, message):
    config = {key: value for key, value in (TINY | changes).items() if value is not None}
    folder = write(tmp_path / "t5", config, closed_form(TINY))
    with pytest.raises(InputError) as caught:
        load(folder)
    assert str(caught.value) == f"{folder / 'config.json'}: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*config.json: No such file or directory"),
        (b"{", "cannot read .*config.json: it is no JSON"),
        (b"\xff", "cannot read .*config.json: it is no JSON"),
        (b"[1]", "cannot read .*config.json: it holds no JSON object"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def refusal(folder):
    """(the message, the details) of the InputError of `load`, each in one line."""
    with pytest.raises(InputError) as caught:
        load(folder)
    lines = (str(caught.value), *caught.value.details)
    assert not any("\n" in line for line in lines)
    return lines[0], lines[1:]


def without(arrays, *keys):
    return {key: array for key, array in arrays.items() if key not in keys}


@pytest.mark.parametrize("shards", [1, 3])
def test_a_key_that_is_missing_is_named(tmp_path, shards):
    for number, (key, shape) in enumerate([(QUERY, [12, 8]), (BIAS, [8, 2])]):
        folder = write(tmp_path / str(number), TINY, without(closed_form(TINY), key), shards)
        name = "model.safetensors" if shards == 1 else "model.safetensors.index.json"
        expected = f"key {key} is missing; expected: an array of shape {shape}"
        assert refusal(folder) == (f"{folder / name}: {expected}", ())


def test_a_missing_embedding_is_named_shared(tmp_path):
    folder = write(tmp_path / "t5", TINY, without(closed_form(TINY), "shared.weight"))
    assert "key shared.weight is missing; expected: an array of shape [11, 8]" in refusal(folder)[0]


@pytest.mark.parametrize("key", [BIAS.replace("0", "1", 1), "encoder.other", "classifier.weight"])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_key_that_is_superfluous_is_named(tmp_path, key, shards):
    arrays = closed_form(TINY) | {key: np.ones((2, 2), np.float32)}
    folder = write(tmp_path / "t5", TINY, arrays, shards)
    holder = "model.safetensors" if shards == 1 else f"model-{(len(arrays) - 1) % 2}.safetensors"
    assert refusal(folder)[0] == (
        f"{folder / holder}: key {key} is superfluous; expected: a T5 encoder of 2 layers with"
        " plain feed-forward layers, as config.json says"
    )


@pytest.mark.parametrize(
    ("key", "shape"), [(QUERY, [12, 8]), ("shared.weight", [11, 8]), (BIAS, [8, 2])]
)
def test_another_shape_is_named(tmp_path, key, shape):
    arrays = closed_form(TINY)
    folder = write(tmp_path / "t5", TINY, arrays | {key: arrays[key].T.copy()})
    assert refusal(folder)[0] == (
        f"{folder / 'model.safetensors'}: key {key} has shape {shape[::-1]}; expected: {shape},"
        " as config.json says"
    )


def test_another_dtype_is_named(tmp_path):
    arrays = closed_form(TINY)
    folder = write(tmp_path / "t5", TINY, arrays | {QUERY: arrays[QUERY].astype(np.int8)})
    expected = f"key {QUERY} is I8; expected: one of F32, F16, BF16, F8_E4M3, F8_E5M2"
    assert refusal(folder)[0] == f"{folder / 'model.safetensors'}: {expected}"


def test_two_embeddings_that_differ_are_refused(tmp_path):
    arrays = closed_form(TINY)
    other = {"encoder.embed_tokens.weight": arrays["shared.weight"] + 1}
    folder = write(tmp_path / "t5", TINY, arrays | other)
    assert refusal(folder)[0] == (
        f"{folder / 'model.safetensors'}: key encoder.embed_tokens.weight differs from"
        " shared.weight; expected: one of them, or the same array as both"
    )


def test_many_faults_have_a_line_each(tmp_path):
    folder = write(tmp_path / "t5", TINY, closed_form(GATED))
    message, details = refusal(folder)
    assert message == f"{folder}: 6 keys are not those that its config.json asks for"
    assert [bool(re.search(r"DenseReluDense\.wi\.weight is missing", x)) for x in details] == (
        2 * [True] + 4 * [False]
    )
    assert sum("superfluous" in line for line in details) == 4
    # Another width: all shapes are wrong but those that have no width.
    folder = write(tmp_path / "wide", TINY | {"d_model": 9}, closed_form(TINY))
    assert len(refusal(folder)[1]) == len(closed_form(TINY)) - 1


def test_a_folder_without_safetensors_is_refused(tmp_path):
    folder = write(tmp_path / "t5", TINY, closed_form(TINY))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message, _ = refusal(folder)
    assert "has neither model.safetensors nor model.safetensors.index.json" in message
    assert "pickled" in message


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path, keep):
    folder = write(tmp_path / "t5", TINY, closed_form(TINY))
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(folder)[0].startswith(f"cannot read {path}: ")


def test_a_shard_that_is_missing_is_named(tmp_path):
    folder = write(tmp_path / "t5", TINY, closed_form(TINY), shards=3)
    (folder / "model-1.safetensors").unlink()
    assert refusal(folder)[0].startswith(f"cannot read {folder / 'model-1.safetensors'}: ")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "cannot read .*index.json: it is no JSON"),
        ("{}", "index.json: weight_map must give each key the name of a .safetensors file"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "weight_map must give"),
        ('{"weight_map": {"a": "pytorch_model.bin"}}', "weight_map must give"),
        ('{"weight_map": {"a": ["model.safetensors"]}}', "weight_map must give"),
    ],
)
def test_an_index_that_cannot_be_is_refused(tmp_path, index, message):
    folder = write(tmp_path / "t5", TINY, closed_form(TINY), shards=2)
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    assert re.search(message, refusal(folder)[0])
