"""Every config key, declared once, with its default, its meaning and its check.

Nothing here imports jax: a config that cannot work is refused before jax is loaded. A modality or
a family from outside the package declares its keys with `declare`.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mmgen_jax.data import SOURCES
from mmgen_jax.errors import InputError
from mmgen_jax.families import declare_family, declare_player
from mmgen_jax.generators import GENERATORS
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.modalities.embeddings import EMBEDDINGS, READ_FROM_FILES
from mmgen_jax.schema import (
    ANY,
    FRACTION,
    KEYS,
    LATENTS,
    WIDTHS,
    Check,
    Key,
    Rule,
    above,
    at_least,
    declare,
    default,
    differences,
    from_dict,
    load,
    name_in,
    one_of,
    save,
)
from mmgen_jax.sounds import SAMPLE_RATE
from mmgen_jax.validation import mesh_shape, validate

__all__ = [
    "ANY",
    "FRACTION",
    "KEYS",
    "WIDTHS",
    "Key",
    "Rule",
    "above",
    "at_least",
    "choose",
    "declare",
    "declare_family",
    "declare_modality",
    "declare_player",
    "default",
    "differences",
    "from_dict",
    "load",
    "mesh_shape",
    "modality_names",
    "name_in",
    "one_of",
    "parse_argument",
    "save",
    "validate",
]


def declare_modality(name: str, keys: Mapping[str, Key], check: Check | None = None) -> None:
    """Declares a modality's own keys and those that every modality has; see `schema.declare`."""
    declare(
        f"modalities.{name}",
        {
            "recovery_weight": Key(0.1, "λ_m on real images", at_least(0)),
            "generated_weight": Key(0.0, "λ_m on generated images", at_least(0)),
            "keep": Key(0.5, "probability of being in a random subset", FRACTION),
            "guidance": Key(1.0, "guidance weight of samples drawn in training", at_least(0)),
            **keys,
        },
        check,
    )
    meaning = "feature of the data set that gives it; empty: the data set's own choice"
    declare("data.features", {name: Key("", meaning, ANY)})


def _check_text(options: ConfigDict, image_size: int) -> None:
    if options.encoder in READ_FROM_FILES and not options.encoder_path:
        raise InputError(
            f"config.modalities.text.encoder_path = '' with encoder = {options.encoder!r};"
            " allowed: a file of word vectors, or the folder of a T5 checkpoint"
        )


def _check_audio(options: ConfigDict, image_size: int) -> None:
    if not options.seconds:
        return  # it is chosen to hold a token at least
    # As `nn.mel.log_mel` has them: frames of 25 ms, one every 10 ms.
    frames = 1 + (round(options.seconds * SAMPLE_RATE) - 400) // 160
    if options.patch_frames > frames:
        raise InputError(
            f"config.modalities.audio.patch_frames = {options.patch_frames} with seconds ="
            f" {options.seconds}; allowed: 1 to {frames}, the frames of such a sound"
        )


declare(
    "data",
    {
        "name": Key("shapes", "data set", name_in(SOURCES)),
        "path": Key(
            "", "folder of the data set, or full name of a TFDS one; empty: its own place", ANY
        ),
        "target": Key("", "feature that is the picture to generate; as data.features", ANY),
        "languages": Key((), "of captions, where there are several; empty: all", ANY),
        "image_size": Key(32, "height and width that the model draws, in pixels", at_least(8)),
        "image_width": Key(
            0,
            "width where it is not the height; 0: it is",
            Rule(lambda v: v == 0 or v >= 8, "0, or at least 8"),
        ),
        "split": Key("train", "split to train on", ANY),
        "seed": Key(0, "of procedural data and of the order of examples", at_least(0)),
        "on_bad_record": Key("raise", "what a bad record does", one_of("raise", "skip")),
        "threads": Key(
            4, "that each process has for reading and preparing records; 0: its own", at_least(0)
        ),
        "workers": Key(0, "processes that do so for this one; 0: none but itself", at_least(0)),
    },
)
declare(
    "modalities",
    {"names": Key(("text", "label"), "what conditions the image, in this order", ANY)},
)
declare_modality(
    "text",
    {
        "encoder": Key(
            "learned",
            "learned: byte-level BPE; word2vec, glove: words; frozen_transformer: a T5",
            name_in(EMBEDDINGS),
        ),
        "encoder_path": Key(
            "", "file of word vectors (word2vec, glove), or folder of a T5 checkpoint", ANY
        ),
        "finetune": Key(False, "train pretrained vectors, or the T5, further", ANY),
        "vocabulary_size": Key(
            512, "tokens of the byte-level BPE, 256 bytes included; words of a file", at_least(257)
        ),
        "fit_examples": Key(20_000, "records that train the tokenizer, at most", at_least(1)),
        "max_tokens": Key(
            0,
            "tokens of a caption; longer ones are cut; 0: chosen when a run starts, to hold at"
            " least 99% of the data set's captions, 256 at most",
            at_least(0),
        ),
        "width": Key(128, "channels of the encoder", at_least(8)),
        "depth": Key(2, "layers of the encoder", at_least(1)),
        "heads": Key(4, "attention heads of the encoder", at_least(1)),
    },
    _check_text,
)
declare_modality("label", {})
declare_modality(
    "audio",
    {
        "seconds": Key(
            0.0,
            "length of a sound; longer ones are cut; 0: chosen when a run starts, to hold at least"
            " 99% of the data set's sounds, 10 at most",
            Rule(lambda v: v == 0 or v >= 0.1, "0, or at least 0.1"),
        ),
        "fit_examples": Key(256, "records that fix the normalisation, at most", at_least(1)),
        "bins": Key(64, "mel bands", at_least(8)),
        "patch_frames": Key(8, "spectrogram frames (10 ms each) in a token", at_least(1)),
        "width": Key(64, "channels of the encoder", at_least(8)),
        "depth": Key(1, "layers of the encoder", at_least(1)),
        "heads": Key(2, "attention heads of the encoder", at_least(1)),
    },
    _check_audio,
)
declare_modality(
    "image",
    {
        "patch": Key(8, "side of a patch in pixels", at_least(1)),
        "width": Key(128, "channels of the encoder", at_least(8)),
        "depth": Key(2, "layers of the encoder", at_least(1)),
        "heads": Key(4, "attention heads of the encoder", at_least(1)),
    },
)
declare(
    "fusion",
    {
        "width": Key(128, "channels of a condition token", at_least(8)),
        "pooled": Key(64, "channels of an expert", at_least(1)),
        "pool_tokens": Key(True, "one pooled token per modality, or all of its tokens", ANY),
        "present_all": Key(0.4, "probability that an example is given all it has", FRACTION),
        "present_none": Key(0.1, "probability that it is given nothing", FRACTION),
    },
)
declare(
    "generator",
    {"name": Key("flow", "family", name_in(GENERATORS))},
)
declare(
    "tokenizer",
    {
        "family": Key(
            "",
            "family in whose latents the generator draws; empty: in pixels",
            Rule(lambda v: not v or v in LATENTS, lambda: ", ".join(["''", *sorted(LATENTS)])),
        ),
        "run": Key("", "its trained run, read when a run starts; of a resumed one it has all", ANY),
        "latents": Key(
            "", "folder of `launch/encode_dataset.py`; empty: every step encodes its pictures", ANY
        ),
    },
)
declare(
    "objective",
    {
        "reader_patch": Key(8, "patch side of the networks that recover inputs", at_least(1)),
        "reader_width": Key(64, "their channels", at_least(8)),
        "reader_depth": Key(2, "their layers", at_least(1)),
        "reader_heads": Key(2, "their attention heads", at_least(1)),
    },
)
declare(
    "train",
    {
        "steps": Key(2_000, "optimizer steps", at_least(1)),
        "batch_size": Key(64, "examples of a step, over all devices", at_least(1)),
        "accumulate": Key(1, "parts that a batch is cut into, one after another", at_least(1)),
        "strategy": Key(
            "jit",
            "jit: the compiler splits a step over the mesh; pmap: data parallel alone",
            one_of("jit", "pmap"),
        ),
        "init_from": Key(
            "", "run, or its checkpoints/STEP, whose parameters a fresh run starts from", ANY
        ),
        "seed": Key(0, "of parameters and of all randomness in training", at_least(0)),
        "dtype": Key(
            "float32", "compute dtype; parameters are float32", one_of("float32", "bfloat16")
        ),
        "ema_decay": Key(0.999, "of the averaged parameters that samples are drawn with", FRACTION),
        "log_every": Key(50, "steps between lines of metrics", at_least(1)),
        "sample_every": Key(500, "steps between sample grids; 0: none", at_least(0)),
    },
)
declare(
    "sharding",
    {
        "data": Key(
            -1,
            "shares of a batch, parameters repeated; -1: what the others leave of the devices",
            Rule(lambda v: v == -1 or v > 0, "-1 or more than 0"),
        ),
        "fsdp": Key(
            1,
            "shares of a batch and of the parameters alike; 0: as many as there are, up to 16",
            at_least(0),
        ),
        "tensor": Key(1, "shares of the layers' channels", at_least(1)),
    },
)
declare(
    "checkpoint",
    {
        "every": Key(500, "steps between checkpoints", at_least(1)),
        "keep_last": Key(3, "newest checkpoints kept", at_least(2)),
        "keep_every": Key(0, "steps whose multiples are kept for good; 0: none", at_least(0)),
        "keep_best": Key(0, "best checkpoints kept, by the last line logged before", at_least(0)),
        "best_metric": Key("loss", "the metric, as in metrics.jsonl, that says which", ANY),
        "best_is": Key("smallest", "which value is best", one_of("smallest", "largest")),
    },
)
declare(
    "eval",
    {
        "split": Key("test", "split of the conditions that samples are drawn for", ANY),
        "count": Key(16, "pictures in a sample grid", at_least(1)),
    },
)


def parse_argument(argument: str | None, defaults: Mapping[str, str]) -> dict[str, str]:
    """Reads a recipe's `key=value,key=value`.

    Raises:
      InputError: for a key that `defaults` does not have, or a part without `=`.
    """
    chosen = dict(defaults)
    for part in filter(None, (argument or "").split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in defaults:
            raise InputError(
                f"unknown recipe argument {part!r}; allowed: "
                + ", ".join(f"{name}=..." for name in defaults)
            )
        chosen[key] = value
    return chosen


def modality_names(joined: str) -> tuple[str, ...]:
    """Reads `text+label`. Raises InputError for a modality that is not there."""
    names = tuple(joined.split("+"))
    for name in names:
        MODALITIES.check(name)
    return names


def choose(what: str, name: str, options: Mapping[str, Any]) -> Any:
    """`options[name]`, or InputError that lists what is allowed."""
    if name not in options:
        raise InputError(f"unknown {what} {name!r}; allowed: {', '.join(options)}")
    return options[name]
