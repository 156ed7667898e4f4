"""Modality `text`: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.errors import InputError
from mmgen_jax.modalities import ModalityOptions, ModalitySpec
from mmgen_jax.modalities.embeddings import EMBEDDINGS
from mmgen_jax.registry import deferred
from mmgen_jax.schema import (
    ANY,
    COUNT,
    HEADS,
    LAYERS,
    PATH,
    WIDTH,
    Relation,
    between,
    name_in,
    option,
)


@dataclass(frozen=True)
class TextOptions(ModalityOptions):
    """Options of an input that is a caption."""

    encoder: str = option(
        "learned",
        "learned: byte-level BPE; word2vec, glove: words; frozen_transformer: a T5",
        name_in(EMBEDDINGS),
    )
    encoder_path: str = option(
        "", "file of word vectors (word2vec, glove), or folder of a T5 checkpoint", PATH
    )
    finetune: bool = option(False, "train pretrained vectors, or the T5, further", ANY)
    vocabulary_size: int = option(
        512,
        "tokens of the byte-level BPE, 256 bytes included; words of a file",
        between(257, 10_000_000),
    )
    fit_examples: int = option(20_000, "records that train the tokenizer, at most", COUNT)
    max_tokens: int = option(
        0,
        "tokens of a caption; longer ones are cut; 0: chosen when a run starts, to hold at"
        " least 99% of the data set's captions, 256 at most",
        between(0, 4_096),
    )
    width: int = option(128, "channels of the encoder", WIDTH)
    depth: int = option(2, "layers of the encoder", LAYERS)
    num_heads: int = option(4, "attention heads of the encoder", HEADS, Relation.HEADS)


def _check(options: TextOptions, height: int, group: str) -> None:
    if EMBEDDINGS[options.encoder].reads_files and not options.encoder_path:
        raise InputError(
            f"config.{group}.encoder_path = '' with encoder = {options.encoder!r};"
            " allowed: a file of word vectors, or the folder of a T5 checkpoint"
        )


EMBEDDING = "embedding"  # the name of its parameters within the encoder's
TEXT = ModalitySpec(
    options=TextOptions,
    fit=deferred("mmgen_jax.modalities.text.modality:fit"),
    build=deferred("mmgen_jax.modalities.text.modality:build"),
    check=_check,
    serves=deferred("mmgen_jax.modalities.text.modality:serves"),
    tied=(EMBEDDING,),
    left_open=("max_tokens",),
    refit=deferred("mmgen_jax.modalities.text.modality:refit"),
)
