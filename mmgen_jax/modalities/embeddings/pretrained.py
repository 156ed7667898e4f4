"""Text embedding `frozen_transformer`: the states of a pretrained T5 encoder.

The folder `modalities.text.encoder_path` is a checkpoint in the layout of the Hugging Face hub
(config.json, model.safetensors or its shards, tokenizer.json), such as google/flan-t5-base. It is
read when a run starts; the parameters live in its checkpoints and the tokenizer in its assets, so
that neither resuming nor sampling needs it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import tokenizers

from mmgen_jax.errors import InputError
from mmgen_jax.modalities import malformed
from mmgen_jax.modalities.embeddings import Embedding
from mmgen_jax.modalities.embeddings.subwords import read_tokenizer
from mmgen_jax.modalities.text.keys import TextOptions
from mmgen_jax.pretrained.t5 import T5Encoder, T5Sizes
from mmgen_jax.pretrained.t5_weights import digest, load, read_sizes
from mmgen_jax.storage import check_file

TOKENIZER = "tokenizer.json"
MOST = 1 << 20  # of any size


def _folder(options: TextOptions) -> Path:
    folder = Path(options.encoder_path)
    if not options.encoder_path or not folder.is_dir():
        raise InputError(
            f"config.modalities.{options.name}.encoder_path = {options.encoder_path!r} is no"
            " folder; allowed:"
            f" a T5 checkpoint with config.json, model.safetensors and {TOKENIZER}"
        )
    return folder


def fit(options: TextOptions, captions: Iterable[str]) -> dict[str, Any]:
    """What is learned from the captions of the data."""
    folder = _folder(options)
    sizes = read_sizes(folder / "config.json")
    try:
        check_file(folder / TOKENIZER)
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # its own exceptions have no common class but this
        raise InputError(f"cannot read {folder / TOKENIZER}: {error}") from error
    # By the numbers of the tokens, of which some may be left out.
    needed = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if needed > sizes.vocabulary:
        raise InputError(
            f"{folder / TOKENIZER} has tokens up to number {needed - 1}, the model"
            f" {sizes.vocabulary}: they do not belong together"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # So that a run that starts from another one takes its weights only if they are of this folder.
    weights = digest(folder)
    return {"tokenizer": tokenizer.to_str(), "sizes": sizes._asdict(), "digest": weights}


def _sizes(assets: dict[str, Any]) -> T5Sizes:
    found = assets.get("sizes")
    if not isinstance(found, dict) or found.keys() != {*T5Sizes._fields}:
        raise malformed("text", f"'sizes' must have {', '.join(T5Sizes._fields)}")
    sizes = T5Sizes(**found)
    numbers = {k: v for k, v in found.items() if k not in ("gated", "epsilon")}
    for name, number in numbers.items():
        if type(number) is not int or not 0 < number <= MOST:
            raise malformed("text", f"{name!r} of 'sizes' must be 1 to {MOST}")
    usual = type(sizes.gated) is bool and type(sizes.epsilon) is float and 0 < sizes.epsilon < 1
    if not usual or sizes.buckets < 4 or sizes.max_distance <= sizes.buckets // 4:
        raise malformed("text", "'sizes' are not those of a T5")
    return sizes


def build(options: TextOptions, dtype: str, assets: dict[str, Any]) -> Embedding:
    """The embedding, with what `fit` learned."""
    tokenizer, sizes = read_tokenizer(assets), _sizes(assets)
    return Embedding(
        tokenize=lambda text: tokenizer.encode(text).ids,
        detokenize=tokenizer.decode,
        module=T5Encoder(sizes, jnp.dtype(dtype)),
        pretrained=lambda: load(_folder(options))[1],
        ends=tokenizer.num_special_tokens_to_add(False),
    )


def serves(options: TextOptions, assets: dict[str, Any]) -> bool:
    """Another folder may hold another tokenizer."""
    return False
