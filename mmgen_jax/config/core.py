"""The config keys that belong to no family and to no modality; nothing here imports jax."""

from dataclasses import dataclass

from mmgen_jax.data import DataOptions
from mmgen_jax.generators import GENERATORS
from mmgen_jax.schema import (
    ANY,
    CHANNELS,
    COUNT,
    COUNT_OR_NONE,
    DECAY,
    FRACTION,
    HEADS,
    LARGEST,
    LAYERS,
    MOST,
    NAMES,
    NOT_EMPTY,
    PATH,
    RATE,
    SEED,
    SIDE,
    WEIGHT,
    WIDTH,
    Key,
    Relation,
    Rule,
    between,
    keys_of,
    name_in,
    one_of,
    option,
)

EXAMPLES = between(1, 2**20)  # of a step; the largest batches that are published are of 2^16
MOST_DEVICES = 2**17


def _tokenizers() -> list[str]:
    return sorted(name for name in GENERATORS if GENERATORS[name].tokenizer)


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of one player's optimizer, the group `optimizer.PLAYER` of a config."""

    name: str = option(
        "adamw", "adamw, or muon on matrices and adamw on the rest", one_of("adamw", "muon")
    )
    learning_rate: float = option(3e-4, "peak learning rate", RATE)
    adamw_learning_rate: float = option(3e-4, "of what muon leaves to adamw", RATE)
    warmup_steps: int = option(100, "the player's steps of linear warm-up", COUNT_OR_NONE)
    final_fraction: float = option(
        0.0, "learning rate at the end of the cosine, of the peak", FRACTION
    )
    beta1: float = option(0.9, "decay of the first moment", DECAY)
    beta2: float = option(0.99, "decay of the second moment", DECAY)
    weight_decay: float = option(0.0, "decoupled, on hidden weight matrices only", WEIGHT)
    clip_norm: float = option(1.0, "largest global gradient norm; 0: any", between(0, LARGEST))
    update_every: int = option(1, "the player moves every so many steps", COUNT)
    update_start: int = option(0, "the player's first step", COUNT_OR_NONE)


CORE: dict[str, dict[str, Key]] = {
    "data": keys_of(DataOptions),
    "modalities": {
        "names": Key(("text", "label"), "what conditions the image, in this order", NAMES)
    },
    "fusion": {
        "width": Key(128, "channels of a condition token", WIDTH),
        "pooled": Key(64, "channels of an expert", CHANNELS),
        "pool_tokens": Key(True, "one pooled token per modality, or all of its tokens", ANY),
        "keep_all_rate": Key(0.4, "probability that an example is given all it has", FRACTION),
        "drop_all_rate": Key(0.1, "probability that it is given nothing", FRACTION),
    },
    "generator": {"name": Key("flow", "family", name_in(GENERATORS))},
    "tokenizer": {
        "family": Key(
            "",
            "family in whose latents the generator draws; empty: in pixels",
            Rule(lambda v: not v or v in _tokenizers(), lambda: ", ".join(["''", *_tokenizers()])),
        ),
        "run": Key(
            "", "its trained run, read when a run starts; of a resumed one it has all", PATH
        ),
        "latents": Key(
            "", "folder of `launch/encode_dataset.py`; empty: every step encodes its pictures", PATH
        ),
    },
    "objective": {
        "recovery_patch_size": Key(
            8, "patch side of the networks that recover inputs", SIDE, Relation.PATCH
        ),
        "recovery_width": Key(64, "their channels", WIDTH),
        "recovery_depth": Key(2, "their layers", LAYERS),
        "recovery_num_heads": Key(2, "their attention heads", HEADS, Relation.HEADS),
    },
    "train": {
        "steps": Key(2_000, "optimizer steps", COUNT),
        "batch_size": Key(64, "examples of a step, over all devices", EXAMPLES),
        "grad_accum_steps": Key(1, "parts that a batch is cut into, one after another", EXAMPLES),
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
    "sharding": {
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
    "checkpoint": {
        "every": Key(500, "steps between checkpoints", COUNT),
        "keep_last": Key(3, "newest checkpoints kept", between(2, MOST)),
        "keep_every": Key(0, "steps whose multiples are kept for good; 0: none", COUNT_OR_NONE),
        "keep_best": Key(0, "best checkpoints kept, by the last line logged before", COUNT_OR_NONE),
        "best_metric": Key("loss", "the metric, as in metrics.jsonl, that says which", NOT_EMPTY),
        "best_is": Key("smallest", "which value is best", one_of("smallest", "largest")),
    },
    "eval": {
        "split": Key("test", "split of the conditions that samples are drawn for", NOT_EMPTY),
        "count": Key(16, "pictures in a sample grid", between(1, 4_096)),
    },
}
