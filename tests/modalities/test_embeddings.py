"""Ways to write captions as vectors: word vectors and a pretrained transformer, from files."""

import gzip
import json
import shutil
import struct
import tracemalloc
from dataclasses import replace
from hashlib import blake2b

import jax
import numpy as np
import pytest
import tokenizers

from mmgen_jax.errors import InputError
from mmgen_jax.modalities import ReaderSizes, Shared
from mmgen_jax.modalities.embeddings import vector_files
from mmgen_jax.modalities.embeddings.subwords import train_tokenizer
from mmgen_jax.modalities.embeddings.vector_files import read_vectors
from mmgen_jax.modalities.embeddings.word_vectors import UNKNOWN, words_of
from mmgen_jax.modalities.text.keys import TEXT
from mmgen_jax.training import loop, run
from tests import t5_files, toys
from tests.tiny import input_options, open_source, tiny_config

SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))

# A file's words, the most frequent first; "a red circle" is a caption of `shapes`.
WORDS = ["the", "a", "red", "Circle", "dog", "circle", "square", "zebra", "blue"]
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32)


def word2vec_text(path):
    rows = "".join(f"{w} {' '.join(map(repr, v.tolist()))}\n" for w, v in zip(WORDS, VECTORS))  # noqa: B905
    path.write_text(f"{len(WORDS)} 5\n{rows}", encoding="utf-8")


def word2vec_binary(path):
    rows = b"".join(w.encode() + b" " + v.tobytes() + b"\n" for w, v in zip(WORDS, VECTORS))  # noqa: B905
    path.write_bytes(f"{len(WORDS)} 5\n".encode() + rows)


def glove_text(path):
    word2vec_text(path)
    path.write_text(path.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8")


def t5_folder(path):
    """A T5 of two layers, with a tokenizer of 300 subwords."""
    config = t5_files.TINY | {"vocab_size": 320}
    t5_files.write(path, config, t5_files.closed_form(config))
    tokenizer = train_tokenizer(["a red circle", "a blue square"], 300)
    tokenizer.enable_truncation(2)  # as some checkpoints' do; it is not ours to obey
    tokenizer.save(str(path / "tokenizer.json"))


FILES = {
    "word2vec.txt": ("word2vec", word2vec_text),
    "word2vec.bin": ("word2vec", word2vec_binary),
    "glove.txt": ("glove", glove_text),
    "t5": ("frozen_transformer", t5_folder),
}


def options_of(encoder, path, finetune=False):
    return input_options("text", encoder=encoder, encoder_path=str(path), finetune=finetune)


@pytest.mark.parametrize("name", ["word2vec.txt", "word2vec.bin", "glove.txt"])
def test_a_file_of_words_is_read_in_its_format(tmp_path, name):
    encoder, make = FILES[name]
    make(tmp_path / name)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for path in (tmp_path / name, packed):
        found = read_vectors(str(path), encoder == "word2vec")
        assert list(found.rows) == WORDS
        np.testing.assert_array_equal(found.vectors, VECTORS)
        some = read_vectors(str(path), encoder == "word2vec", ["blue", "dog", "no"], first=2)
        assert list(some.rows) == ["the", "a", "dog", "blue"]
        np.testing.assert_array_equal(some.vectors, VECTORS[[0, 1, 4, 8]])
        np.testing.assert_allclose(some.mean, VECTORS.mean(axis=0), rtol=1e-6)
        assert some.digest == found.digest == blake2b(VECTORS.tobytes(), digest_size=16).hexdigest()


@pytest.mark.parametrize(
    ("header", "name", "start", "line"),
    [
        (False, "x.txt.gz", b"", b"a 0 0\n"),
        (True, "x.txt.gz", b"99999999 2\n", b"a 0 0\n"),
        (True, "x.bin.gz", b"99999999 2\n", b"a " + bytes(8)),
        (False, "x.txt.gz", b"", b"0" * 4096),
        (True, "x.bin.gz", b"9 2\n", b"0" * 4096),
        (True, "x.txt.gz", b"9 1000000000000\n", b""),
        (True, "x.bin", b"1000000000 16384\n", b"a "),
    ],
)
def test_a_bomb_takes_little_memory_and_ends(tmp_path, monkeypatch, header, name, start, line):
    """Of 8 MB unpacked; it was held in memory as a whole, and whatever its head said besides."""
    monkeypatch.setattr(vector_files, "MOST_WORDS", 3_000)
    content = start + line * (8 * 2**20 // max(len(line), 1))
    small = name.endswith(".gz")
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if small else content[:1000])
    del content
    tracemalloc.start()
    with pytest.raises(InputError, match="is no file in .* format: .*(more than|line|cut|end|dim)"):
        read_vectors(str(tmp_path / name), header, first=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2**20


def test_words_may_hold_spaces_and_stand_twice(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("a 1 2\n. . . 3 4\na 5 6\n", encoding="utf-8")
    found = read_vectors(str(path), False)
    assert list(found.rows) == ["a", ". . ."] and found.vectors.tolist() == [[1, 2], [3, 4]]
    path.write_text("a 1 2\nb 3 4 5\n", encoding="utf-8")
    with pytest.raises(InputError, match="entry 2 has not 2 numbers after its word"):
        read_vectors(str(path), False)
    word2vec_text(path)
    with pytest.raises(InputError, match="begins with a line of two numbers, as word2vec's do"):
        read_vectors(str(path), False)


def test_a_tokenizer_beyond_the_embedding_is_refused(tmp_path):
    """Its numbers count, not how many there are: the embedding would be read beside its end."""
    t5_folder(tmp_path / "t5")
    path = tmp_path / "t5" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["added_tokens"][0]["id"] = content["model"]["vocab"]["<pad>"] = 320
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="has tokens up to number 320, the model 320"):
        TEXT.fit(options_of("frozen_transformer", tmp_path / "t5"), open_source(tiny_config()))


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A red circle, please!", ["A", "red", "circle", ",", "please", "!"]),
        ("लाल वृत्त", ["लाल", "वृत्त"]),
        ("e\u0301t\u00e9 7½", ["été", "7½"]),
        (" \t…", ["…"]),
        ("🙂🙃", ["🙂", "🙃"]),
    ],
)
def test_words(caption, words):
    assert words_of(caption) == words


def test_words_are_looked_up_as_they_stand_then_in_lower_case_then_not_at_all(tmp_path):
    word2vec_text(tmp_path / "words.txt")
    options = options_of("word2vec", tmp_path / "words.txt")
    source = open_source(tiny_config())
    assets = TEXT.fit(options, source)
    # All are kept: the vocabulary has room. Those of the captions would be in any case.
    assert assets["words"] == [UNKNOWN, *WORDS]
    options = replace(options, vocabulary_size=3)
    assert {"a", "red", "circle", "square", "blue"} <= set(TEXT.fit(options, source)["words"])
    assert "dog" not in TEXT.fit(options, source)["words"]

    text = TEXT.build(options, SHARED, assets)
    value = text.prepare("A red CIRCLE Circle xylophone")
    assert text.show(value) == f"a red circle Circle {UNKNOWN}"
    tree = text.pretrained()["frozen"]["embedding"]["table"]["embedding"]
    np.testing.assert_array_equal(tree[1:], VECTORS)
    np.testing.assert_allclose(tree[0], VECTORS.mean(axis=0), rtol=1e-6)


def toy_config(encoder, path, finetune):
    config = toys.toy_config()
    config.data.name, config.data.image_size = "shapes", 16
    config.modalities.names = ("text",)
    changes = dict(encoder=encoder, encoder_path=str(path), finetune=finetune)
    config.modalities.text.update(changes)
    config.train.steps = config.checkpoint.every = 3
    config.train.sample_every = 0
    return config


@pytest.mark.parametrize(
    ("name", "finetune"),
    [
        ("glove.txt", True),
        pytest.param("t5", False, marks=pytest.mark.slow),
        pytest.param("word2vec.bin", False, marks=pytest.mark.slow),
        pytest.param("t5", True, marks=pytest.mark.slow),
    ],
)
def test_a_run_trains_with_it_and_needs_the_file_no_more(tmp_path, name, finetune):
    (encoder, make), path = FILES[name], tmp_path / name
    make(path)
    with toys.registered():
        config = toy_config(encoder, path, finetune)
        options = input_options("text", config.modalities.text)
        text = TEXT.build(options, SHARED, TEXT.fit(options, open_source(config)))
        ((group, tree),) = text.pretrained().items()
        assert group == ("encoders" if finetune else "frozen")
        loop.train(config, tmp_path / "run")
        shutil.rmtree(path) if path.is_dir() else path.unlink()

        trained = run.load(tmp_path / "run")
        now = trained.params[group]["text"]["embedding"]
        same = jax.tree.map(np.array_equal, now, tree["embedding"])
        assert all(jax.tree.leaves(same)) == (not finetune)
        close = jax.tree.map(lambda a, b: np.allclose(a, b, atol=0.1), now, tree["embedding"])
        assert all(jax.tree.leaves(close)), "a few small steps from where it began"

        config.train.steps = 4  # resumed
        loop.train(config, tmp_path / "run", loop.Allowed(config_change=True))
        assert run.load(tmp_path / "run").step == 4


def test_a_frozen_transformer_equals_its_own_states(tmp_path):
    """The encoder that is built holds the very T5: its states, before the transformer over it."""
    t5_folder(tmp_path / "t5")
    options = options_of("frozen_transformer", tmp_path / "t5")
    assets = TEXT.fit(options, open_source(tiny_config()))
    text = TEXT.build(options, SHARED, json.loads(json.dumps(assets)))
    value = text.prepare("a red circle with a very long tail")
    assert value["mask"].sum() > 2, "the file's own truncation is off"
    assert "red circle" in text.show(value)


@pytest.mark.parametrize("encoder", ["word2vec", "glove", "frozen_transformer"])
def test_what_is_not_there_is_refused(encoder, tmp_path):
    for path in ("", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"config\.modalities\.text\.encoder_path = .*allowed"):
            TEXT.fit(options_of(encoder, path), open_source(tiny_config()))


def test_a_file_that_would_not_be_read_is_refused(tmp_path):
    message = "encoder_path = 'words.txt' with encoder = 'learned', which reads no file"
    with pytest.raises(InputError, match=message):
        TEXT.fit(options_of("learned", "words.txt"), open_source(tiny_config()))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.txt", b"the 1 2 3\na 1 2 3\n"),
        ("words.txt", b""),
        ("words.txt", b"2 0\nthe\na\n"),
        ("words.txt.gz", b"\x1f\x8b\x08\x00torn"),
        ("words.txt", b"2 3\nthe 1 2 3\na 1 two 3\n"),
        ("words.txt", b"1 2\nthe nan 2\n"),
        ("words.bin", b"2 3\nthe " + struct.pack("<3f", 1, 2, 3) + b"\na "),
    ],
    ids=["no header", "empty", "nothing but words", "torn gz", "no number", "nan", "cut"],
)
def test_a_broken_file_of_words_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path / name)) as error:
        read_vectors(str(tmp_path / name), True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "content"), [("words.txt", b""), ("words.bin", b"1 1\na 0000")])
def test_what_is_no_glove_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="no file in GloVe's format"):
        read_vectors(str(tmp_path / name), False)


def test_what_is_fitted_tells_files_of_the_same_words_apart(tmp_path):
    fitted = lambda encoder, path: TEXT.fit(options_of(encoder, path), open_source(tiny_config()))  # noqa: E731
    word2vec_text(tmp_path / "one.txt")
    text = (tmp_path / "one.txt").read_text(encoding="utf-8").partition("\n")
    (tmp_path / "two.txt").write_text(
        text[0] + text[1] + text[2].replace(" 0.", " 1."), encoding="utf-8"
    )
    one, two = (fitted("word2vec", tmp_path / f"{name}.txt") for name in ("one", "two"))
    assert one["words"] == two["words"] and one != two
    t5_folder(tmp_path / "t5")
    before = fitted("frozen_transformer", tmp_path / "t5")
    config = t5_files.TINY | {"vocab_size": 320}
    weights = {k: v + 1 for k, v in t5_files.closed_form(config).items()}
    t5_files.write(tmp_path / "other", config, weights)
    shutil.copy(tmp_path / "t5" / "tokenizer.json", tmp_path / "other")
    after = fitted("frozen_transformer", tmp_path / "other")
    assert before["tokenizer"] == after["tokenizer"] and before != after


def test_a_long_caption_keeps_the_end_token_of_a_t5(tmp_path):
    t5_folder(tmp_path / "t5")
    path = str(tmp_path / "t5" / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(path)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <pad>", special_tokens=[("<pad>", 0)]
    )
    tokenizer.save(path)
    options = options_of("frozen_transformer", tmp_path / "t5")
    text = TEXT.build(options, SHARED, TEXT.fit(options, open_source(tiny_config())))
    for caption in ("a red circle", "a red circle and a blue square " * 9):
        value = text.prepare(caption)
        assert value["tokens"][value["mask"]][-1] == 0
    assert value["mask"].all()


def test_a_broken_tokenizer_is_refused(tmp_path):
    t5_folder(tmp_path / "t5")
    (tmp_path / "t5" / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot read .*tokenizer\.json"):
        TEXT.fit(options_of("frozen_transformer", tmp_path / "t5"), open_source(tiny_config()))
