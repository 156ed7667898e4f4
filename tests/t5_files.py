"""Small T5 checkpoints in the layout of the Hugging Face Hub, with weights from a closed form."""

import json

import numpy as np
import safetensors.numpy

TINY = {
    "model_type": "t5",
    "vocab_size": 11,
    "d_model": 8,
    "d_kv": 6,
    "d_ff": 10,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 0.01,
    "feed_forward_proj": "relu",
}
BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


def closed_form(config):
    """Weights of a T5 encoder by their keys in a file: sines, the same on every machine."""
    width, inner = config["d_model"], config["num_heads"] * config["d_kv"]
    feed, heads = config["d_ff"], config["num_heads"]
    names = ["wi_0", "wi_1"] if config["feed_forward_proj"] == "gated-gelu" else ["wi"]
    shapes = {
        "shared.weight": (config["vocab_size"], width),
        BIAS: (config["relative_attention_num_buckets"], heads),
        "encoder.final_layer_norm.weight": (width,),
    }
    for layer in range(config["num_layers"]):
        attention, forward = (f"encoder.block.{layer}.layer.{part}" for part in (0, 1))
        shapes |= {f"{attention}.SelfAttention.{name}.weight": (inner, width) for name in "qkv"}
        shapes[f"{attention}.SelfAttention.o.weight"] = (width, inner)
        shapes |= {f"{forward}.DenseReluDense.{name}.weight": (feed, width) for name in names}
        shapes[f"{forward}.DenseReluDense.wo.weight"] = (width, feed)
        shapes |= {f"{part}.layer_norm.weight": (width,) for part in (attention, forward)}

    def values(number, key, shape):
        wave = np.sin(number + 1 + np.arange(np.prod(shape), dtype=np.float64) ** 2)
        if "norm" in key:
            wave = 1 + 0.5 * wave
        elif "relative" in key:
            wave = 2 * wave
        elif key != "shared.weight":
            wave = wave * 1.5 / np.sqrt(shape[1])
        return wave.reshape(shape).astype(np.float32)

    return {key: values(i, key, shape) for i, (key, shape) in enumerate(shapes.items())}


def write(folder, config, arrays, shards=1):
    """Writes a folder in the layout of the Hugging Face Hub."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if shards == 1:
        safetensors.numpy.save_file(arrays, folder / "model.safetensors")
        return folder
    weight_map = {key: f"model-{i % shards}.safetensors" for i, key in enumerate(arrays)}
    for name in set(weight_map.values()):
        part = {key: array for key, array in arrays.items() if weight_map[key] == name}
        safetensors.numpy.save_file(part, folder / name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder
