"""Trains word vectors on a data set's captions, for `modalities.text.encoder=word2vec`.

python launch/train_word2vec.py --config=configs/flow.py:data=emoji \
    --config.data.features.text=keywords/text --out=data/emoji/words.txt

Skip-gram with negative sampling (Mikolov et al. 2013), by gensim. The same captions and seed give
the same vectors.
"""

import zlib
from typing import Any

from absl import flags
from tqdm import tqdm

from mmgen_jax import cli, config
from mmgen_jax.cli.bounds import define_seed
from mmgen_jax.data import DataOptions, choose, values_of
from mmgen_jax.errors import InputError, writing
from mmgen_jax.storage import replacing

CONFIG = cli.define_config()
output = cli.define_out("train_word2vec", ".txt", ".bin")
DIMENSIONS = flags.DEFINE_integer(
    "dimensions", 100, "Of a vector.", lower_bound=1, upper_bound=4_096
)
EPOCHS = flags.DEFINE_integer(
    "epochs", 100, "Millions of captions want fewer.", lower_bound=1, upper_bound=100_000
)
MIN_COUNT = flags.DEFINE_integer(
    "min_count", 2, "Rarer words get no vector.", lower_bound=1, upper_bound=10**9
)
RECORDS = flags.DEFINE_integer(
    "records",
    200_000,
    "Records whose captions are read, at most; chosen by a hash of their number.",
    lower_bound=1,
    upper_bound=10**8,
)
SEED = define_seed("Of the vectors.")
flags.mark_flag_as_required("config")

SHOWN, NEIGHBOURS = 8, 5


def main() -> None:
    out, recipe = output().path, CONFIG.value
    config.validate(recipe)

    source = DataOptions.of(recipe).open(recipe.data.split)
    if "text" not in source.info.modalities:
        raise InputError(f"data set {recipe.data.name!r} has no text")
    count = min(RECORDS.value, len(source))
    print(f"reading the captions of {count} of {len(source)} records", flush=True)
    captions = list(tqdm(values_of(source, "text", count), unit="caption", leave=False))
    vectors = train(captions)
    with writing(out), replacing(out) as file:
        vectors.save_word2vec_format(file.name, binary=out.suffix == ".bin")
    for caption in (captions[i] for i in choose(SHOWN, len(captions))):
        print(f"nearest to {caption!r}: {', '.join(nearest(vectors, caption))}")
    print(f"{out}: {len(vectors)} words, {vectors.vector_size} dimensions")


def nearest(vectors: Any, caption: str) -> list[str]:
    """The words that are nearest to the mean of a caption's, those that it says itself left out."""
    from mmgen_jax.modalities.embeddings.word_vectors import in_word, words_of

    said = [word for word in map(str.lower, words_of(caption)) if word in vectors]
    said = [word for word in said if in_word(word[0])]
    if not said:
        return ["none of its words has a vector"]
    near = [word for word, _ in vectors.most_similar(said, topn=10 * NEIGHBOURS)]
    return [word for word in near if in_word(word[0])][:NEIGHBOURS]


def train(captions: list[str]) -> Any:
    """Vectors of the captions' words, as gensim has them (KeyedVectors)."""
    # imports jax, as all of the package's encoders do: after the config is known to be good
    from mmgen_jax.modalities.embeddings.word_vectors import words_of

    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise InputError("this needs gensim; install it: pip install 'mmgen_jax[words]'") from error
    sentences = [[word.lower() for word in words_of(caption)] for caption in captions]
    try:
        model = Word2Vec(
            sentences,
            vector_size=DIMENSIONS.value,
            sg=1,
            epochs=EPOCHS.value,
            min_count=MIN_COUNT.value,
            seed=SEED.value,
            # Threads, and Python's own hash, would make other vectors each time.
            workers=1,
            hashfxn=lambda word: zlib.crc32(word.encode()),
        )
    except RuntimeError as error:
        raise InputError(f"{len(captions)} captions are too few: {error}") from error
    return model.wv


if __name__ == "__main__":
    cli.run(main)
