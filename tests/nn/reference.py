"""The attention networks a second time: float64 NumPy, one example and one head at a time."""

import jax
import numpy as np


def randomised(params, seed=0):
    """Random weights of the shapes of `params`, none of them zero or one: float32 and float64."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[-2])
        return {"scale": 1.0}.get(name, 0.0) + 0.3 * rng.normal(size=leaf.shape)

    drawn = jax.tree_util.tree_map_with_path(draw, params)
    single = jax.tree.map(lambda x: x.astype(np.float32), drawn)
    return single, jax.tree.map(double, single)


def double(x):
    """Floating-point arrays in float64; others, such as masks, as they are."""
    x = np.asarray(x)
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x


def layer(params, number):
    """One layer's weights out of stacked ones."""
    return jax.tree.map(lambda x: x[number], params)


def dense(params, x):
    return x @ params["kernel"] + (params["bias"] if "bias" in params else 0)


def silu(x):
    return x / (1 + np.exp(-x))


def rms_norm(x, scale=1.0):
    return scale * x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)


def rope(x, positions, base=10_000.0):
    """Rotates pairs (i, i + half) of [..., tokens, channel] as complex numbers."""
    half, axes = x.shape[-1] // 2, positions.shape[-1]
    turns, first = np.empty((len(positions), half)), 0
    for axis in range(axes):
        share = half // axes + (axis < half % axes)
        for i in range(share):
            turns[:, first + i] = positions[:, axis] / base ** (i / share)
        first += share
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * turns)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def query_key_value(params, x, positions, num_heads):
    """[batch, tokens, width] -> three of [batch, heads, tokens, channel]."""
    batch, tokens, width = x.shape
    channel = width // num_heads
    fused = dense(params["qkv"], x).reshape(batch, tokens, num_heads, 3, channel)
    query, key, value = fused.transpose(3, 0, 2, 1, 4)
    query = rope(rms_norm(query, params["query_norm"]["scale"]), positions)
    key = rope(rms_norm(key, params["key_norm"]["scale"]), positions)
    return query, key, value


def attend(query, key, value, mask):
    """Softmax over the keys that count, and over no others; [batch, tokens, heads * channel]."""
    batch, num_heads, tokens, channel = query.shape
    out = np.zeros((batch, tokens, num_heads, channel))
    for row in range(batch):
        for head in range(num_heads):
            keys, values = key[row, head][mask[row]], value[row, head][mask[row]]
            weights = np.exp(query[row, head] @ keys.T / np.sqrt(channel))
            out[row, :, head] = weights / weights.sum(axis=-1, keepdims=True) @ values
    return out.reshape(batch, tokens, num_heads * channel)


def swiglu(params, x):
    kernel = params["gate_up"]["kernel"]
    hidden = kernel.shape[1] // 2
    return dense(params["down"], silu(x @ kernel[:, :hidden]) * (x @ kernel[:, hidden:]))


def transformer_block(params, x, mask, positions, num_heads):
    normed = rms_norm(x, params["RMSNorm_0"]["scale"])
    mixed = attend(*query_key_value(params["QueryKeyValue_0"], normed, positions, num_heads), mask)
    x = x + dense(params["out"], mixed)
    return x + swiglu(params["SwiGLU_0"], rms_norm(x, params["RMSNorm_1"]["scale"]))


def mmdit_block(params, streams, vector, mask, positions, num_heads):
    """SD3, figure 2b: two streams, an image's and a condition's, joined for attention alone."""
    parts, joint = [], []
    for stream, x, where in zip(("image", "condition"), streams, positions, strict=True):
        six = dense(params[stream]["modulation"]["parts"], silu(vector))
        parts.append(six.reshape(len(x), 6, 1, -1).swapaxes(0, 1))
        shift, scale = parts[-1][:2]
        normed = rms_norm(x) * (1 + scale) + shift
        joint.append(query_key_value(params[stream]["projection"], normed, where, num_heads))
    mixed = attend(*(np.concatenate(both, axis=2) for both in zip(*joint, strict=True)), mask)
    mixed = np.split(mixed, [streams[0].shape[1]], axis=1)
    out = []
    for stream, x, six, brought in zip(("image", "condition"), streams, parts, mixed, strict=True):
        _, _, gate, feed_shift, feed_scale, feed_gate = six
        x = x + gate * dense(params[stream]["out"], brought)
        normed = rms_norm(x) * (1 + feed_scale) + feed_shift
        out.append(x + feed_gate * swiglu(params[stream]["feed"], normed))
    return out


def timestep_embedding(params, timestep, frequencies=128):
    angle = 1000 * timestep[:, None] / 10_000 ** (np.arange(frequencies) / frequencies)
    waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return dense(params["out"], silu(dense(params["hidden"], waves)))


def mmdit(
    params, noisy, timestep, tokens, mask, positions, vector, *, patch_size, depth, num_heads
):
    """The whole network; loops over patches where the original reshapes."""
    batch, height, width, channel = noisy.shape
    corners = [(y, x) for y in range(0, height, patch_size) for x in range(0, width, patch_size)]
    cut = [noisy[:, y : y + patch_size, x : x + patch_size].reshape(batch, -1) for y, x in corners]
    image = dense(params["embed"], np.stack(cut, axis=1)) + params["positions"]
    streams = [image, dense(params["condition"], tokens)]
    vector = dense(params["pooled"], vector) + timestep_embedding(params["timestep"], timestep)
    everywhere = np.concatenate([np.ones((batch, len(corners)), bool), mask], axis=1)
    middle = np.array([height - patch_size, width - patch_size]) / 2
    centres = np.array([(0, *((np.array(corner) - middle) / patch_size)) for corner in corners])
    for number in range(depth):
        weights = layer(params["layers"], number)
        streams = mmdit_block(weights, streams, vector, everywhere, (centres, positions), num_heads)
    shift, scale = np.split(dense(params["modulation"]["parts"], silu(vector))[:, None], 2, axis=-1)
    out = dense(params["out"], rms_norm(streams[0]) * (1 + scale) + shift)
    images = np.zeros(noisy.shape)
    for number, (y, x) in enumerate(corners):
        images[:, y : y + patch_size, x : x + patch_size] = out[:, number].reshape(
            batch, patch_size, patch_size, channel
        )
    return images
