"""Every config key, declared once, with its default, its meaning and its check.

Nothing here imports jax: a config that cannot work is refused before jax is loaded. A modality or
a family from outside the package declares its keys with `declare`.
"""

import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mmgen_jax.config.families import declare_family, declare_player
from mmgen_jax.config.schema import (
    ANY,
    CHANNELS,
    COUNT,
    COUNT_OR_NONE,
    FRACTION,
    HEADS,
    KEYS,
    LATENTS,
    LAYERS,
    MOST,
    MOST_GUIDANCE,
    MOST_SIDE,
    NAMES,
    NOT_EMPTY,
    PATH,
    SEED,
    SIDE,
    WEIGHT,
    WIDTH,
    WIDTHS,
    Check,
    Key,
    Rule,
    above,
    at_least,
    between,
    declare,
    default,
    differences,
    name_in,
    one_of,
    save,
)
from mmgen_jax.config.validation import from_dict, load, mesh_shape, validate
from mmgen_jax.data import SOURCES
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS
from mmgen_jax.media.audio import SAMPLE_RATE
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.modalities.embeddings import EMBEDDINGS, READ_FROM_FILES

__all__ = [
    "ANY",
    "FRACTION",
    "KEYS",
    "WIDTHS",
    "Key",
    "Rule",
    "above",
    "at_least",
    "between",
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


GUIDED = between(0, MOST_GUIDANCE)
EXAMPLES = between(1, 2**20)  # of a step; the largest batches that are published are of 2^16
PROCESSES = between(0, 1_024)
MOST_DEVICES = 2**17


def declare_modality(name: str, keys: Mapping[str, Key], check: Check | None = None) -> None:
    """Declares a modality's own keys and those that every modality has; see `schema.declare`."""
    declare(
        f"modalities.{name}",
        {
            "recovery_weight": Key(0.1, "λ_m on real images", WEIGHT),
            "generated_weight": Key(0.0, "λ_m on generated images", WEIGHT),
            "keep": Key(0.5, "probability of being in a random subset", FRACTION),
            "guidance": Key(1.0, "guidance weight of samples drawn in training", GUIDED),
            **keys,
        },
        check,
    )
    meaning = "feature of the data set that gives it; empty: the data set's own choice"
    declare("data.features", {name: Key("", meaning, PATH)})


def _check_text(options: ConfigDict, image_size: int) -> None:
    if options.encoder in READ_FROM_FILES and not options.encoder_path:
        raise InputError(
            f"config.modalities.text.encoder_path = '' with encoder = {options.encoder!r};"
            " allowed: a file of word vectors, or the folder of a T5 checkpoint"
        )


MOST_SECONDS = 36_000  # of sound at once: 2.3 GB of samples


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
    if options.fit_examples * options.seconds > MOST_SECONDS:
        raise InputError(
            f"config.modalities.audio.fit_examples = {options.fit_examples} with seconds ="
            f" {options.seconds}: they are in memory together; allowed: at most"
            f" {math.floor(MOST_SECONDS / options.seconds)}"
        )


declare(
    "data",
    {
        "name": Key("shapes", "data set", name_in(SOURCES)),
        "path": Key(
            "", "folder of the data set, or full name of a TFDS one; empty: its own place", PATH
        ),
        "target": Key("", "feature that is the picture to generate; as data.features", PATH),
        "languages": Key((), "of captions, where there are several; empty: all", NAMES),
        "image_size": Key(
            32, "height and width that the model draws, in pixels", between(8, MOST_SIDE)
        ),
        "image_width": Key(
            0,
            "width where it is not the height; 0: it is",
            Rule(lambda v: v == 0 or 8 <= v <= MOST_SIDE, f"0, or at least 8, at most {MOST_SIDE}"),
        ),
        "split": Key("train", "split to train on", NOT_EMPTY),
        "seed": Key(0, "of procedural data and of the order of examples", SEED),
        "on_bad_record": Key("raise", "what a bad record does", one_of("raise", "skip")),
        "threads": Key(
            4, "that each process has for reading and preparing records; 0: its own", PROCESSES
        ),
        "workers": Key(0, "processes that do so for this one; 0: none but itself", PROCESSES),
    },
)
declare(
    "modalities",
    {"names": Key(("text", "label"), "what conditions the image, in this order", NAMES)},
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
            "", "file of word vectors (word2vec, glove), or folder of a T5 checkpoint", PATH
        ),
        "finetune": Key(False, "train pretrained vectors, or the T5, further", ANY),
        "vocabulary_size": Key(
            512,
            "tokens of the byte-level BPE, 256 bytes included; words of a file",
            between(257, 10_000_000),
        ),
        "fit_examples": Key(20_000, "records that train the tokenizer, at most", COUNT),
        "max_tokens": Key(
            0,
            "tokens of a caption; longer ones are cut; 0: chosen when a run starts, to hold at"
            " least 99% of the data set's captions, 256 at most",
            between(0, 4_096),
        ),
        "width": Key(128, "channels of the encoder", WIDTH),
        "depth": Key(2, "layers of the encoder", LAYERS),
        "heads": Key(4, "attention heads of the encoder", HEADS),
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
            Rule(lambda v: v == 0 or 0.1 <= v <= 600, "0, or at least 0.1, at most 600"),
        ),
        "fit_examples": Key(256, "records that fix the normalisation, at most", COUNT),
        "bins": Key(64, "mel bands", between(8, 128)),
        "patch_frames": Key(8, "spectrogram frames (10 ms each) in a token", between(1, 60_000)),
        "width": Key(64, "channels of the encoder", WIDTH),
        "depth": Key(1, "layers of the encoder", LAYERS),
        "heads": Key(2, "attention heads of the encoder", HEADS),
    },
    _check_audio,
)
declare_modality(
    "image",
    {
        "patch": Key(8, "side of a patch in pixels", SIDE),
        "width": Key(128, "channels of the encoder", WIDTH),
        "depth": Key(2, "layers of the encoder", LAYERS),
        "heads": Key(4, "attention heads of the encoder", HEADS),
    },
)
declare(
    "fusion",
    {
        "width": Key(128, "channels of a condition token", WIDTH),
        "pooled": Key(64, "channels of an expert", CHANNELS),
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
        "run": Key(
            "", "its trained run, read when a run starts; of a resumed one it has all", PATH
        ),
        "latents": Key(
            "", "folder of `launch/encode_dataset.py`; empty: every step encodes its pictures", PATH
        ),
    },
)
declare(
    "objective",
    {
        "reader_patch": Key(8, "patch side of the networks that recover inputs", SIDE),
        "reader_width": Key(64, "their channels", WIDTH),
        "reader_depth": Key(2, "their layers", LAYERS),
        "reader_heads": Key(2, "their attention heads", HEADS),
    },
)
declare(
    "train",
    {
        "steps": Key(2_000, "optimizer steps", COUNT),
        "batch_size": Key(64, "examples of a step, over all devices", EXAMPLES),
        "accumulate": Key(1, "parts that a batch is cut into, one after another", EXAMPLES),
        "strategy": Key(
            "jit",
            "jit: the compiler splits a step over the mesh; pmap: data parallel alone",
            one_of("jit", "pmap"),
        ),
        "init_from": Key(
            "", "run, or its checkpoints/STEP, whose parameters a fresh run starts from", PATH
        ),
        "seed": Key(0, "of parameters and of all randomness in training", SEED),
        "dtype": Key(
            "float32", "compute dtype; parameters are float32", one_of("float32", "bfloat16")
        ),
        "ema_decay": Key(0.999, "of the averaged parameters that samples are drawn with", FRACTION),
        "log_every": Key(50, "steps between lines of metrics", COUNT),
        "sample_every": Key(500, "steps between sample grids; 0: none", COUNT_OR_NONE),
    },
)
declare(
    "sharding",
    {
        "data": Key(
            -1,
            "shares of a batch, parameters repeated; -1: what the others leave of the devices",
            Rule(
                lambda v: v == -1 or 0 < v <= MOST_DEVICES,
                f"-1, or at least 1, at most {MOST_DEVICES}",
            ),
        ),
        "fsdp": Key(
            1,
            "shares of a batch and of the parameters alike; 0: as many as there are, up to 16",
            between(0, MOST_DEVICES),
        ),
        "tensor": Key(1, "shares of the layers' channels", between(1, MOST_DEVICES)),
    },
)
declare(
    "checkpoint",
    {
        "every": Key(500, "steps between checkpoints", COUNT),
        "keep_last": Key(3, "newest checkpoints kept", between(2, MOST)),
        "keep_every": Key(0, "steps whose multiples are kept for good; 0: none", COUNT_OR_NONE),
        "keep_best": Key(0, "best checkpoints kept, by the last line logged before", COUNT_OR_NONE),
        "best_metric": Key("loss", "the metric, as in metrics.jsonl, that says which", NOT_EMPTY),
        "best_is": Key("smallest", "which value is best", one_of("smallest", "largest")),
    },
)
declare(
    "eval",
    {
        "split": Key("test", "split of the conditions that samples are drawn for", NOT_EMPTY),
        "count": Key(16, "pictures in a sample grid", between(1, 4_096)),
    },
)


def parse_argument(argument: str | None, defaults: Mapping[str, str]) -> dict[str, str]:
    """Reads a recipe's `key=value,key=value`.

    Raises:
      InputError: for a key that `defaults` does not have, or a part without `=`.
    """
    chosen, before = dict(defaults), ""
    for part in filter(None, (argument or "").split(",")):
        key, equals, value = part.partition("=")
        if not equals and before:
            raise InputError(
                f"recipe argument {part!r} has no =; allowed: several values joined by +, as in"
                f" {before}+{part}"
            )
        before = part
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
