"""Modality `text`: captions, their tokens, and their recovery."""

import sys
import unicodedata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.data import OneOf, Record, choose
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import ReaderSizes, Shared
from mmgen_jax.modalities.embeddings.subwords import PAD, train_tokenizer
from mmgen_jax.modalities.text.keys import TEXT
from mmgen_jax.modalities.text.modality import MOST_TOKENS, SENTENCE
from tests.tiny import input_options, open_source, random_parameters, tiny_config

CAPTIONS = ["a red circle", "ein grüner Kreis", "the square is blue", "hier ist ein rotes Quadrat"]
SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))


def text(max_tokens=12, shared=SHARED):
    options = input_options("text", max_tokens=max_tokens)
    tokenizer = train_tokenizer(CAPTIONS, 300).to_str()
    return TEXT.build(options, shared, {"encoder": "learned", "tokenizer": tokenizer})


def types(value):
    return jax.tree.map(lambda x: (x.shape, x.dtype), value)


def stack(modality, captions):
    rows = [modality.prepare(caption) for caption in captions]
    return jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *rows)


def test_prepare_has_fixed_shapes_and_types():
    modality = text()
    for caption in CAPTIONS:
        value = modality.prepare(caption)
        assert value["tokens"].shape == value["mask"].shape == (12,)
        assert value["tokens"].dtype == np.int32 and value["mask"].dtype == bool
        assert value["mask"].any() and (value["tokens"][~value["mask"]] == 0).all()
        assert types(value) == types(modality.absent)


def test_a_long_caption_is_cut_at_the_end():
    long, short = text(200).prepare(" ".join(CAPTIONS)), text(7).prepare(" ".join(CAPTIONS))
    assert short["mask"].all() and not long["mask"].all()
    np.testing.assert_array_equal(short["tokens"], long["tokens"][:7])


@pytest.mark.parametrize("caption", ["", "  ", "\t\n", "half a pair \ud83d"])
def test_what_is_no_caption_is_refused_in_one_line(caption):
    with pytest.raises(InputError) as error:
        text().prepare(caption)
    assert "\n" not in str(error.value)


def unicode_strings(count):
    """Strings of any characters that there are, in the form in which they are handed on."""
    rng = np.random.default_rng(0)
    planes = [(0, 0x80), (0, 0x800), (0x800, 0x10000), (0x10000, sys.maxunicode + 1)]
    for _ in range(count):
        drawn = "".join(chr(rng.integers(*planes[k])) for k in rng.integers(0, 4, 60))
        kept = (c for c in drawn if unicodedata.category(c) not in ("Cn", "Cs", "Co"))
        yield unicodedata.normalize("NFC", "x" + "".join(c for c in kept if c.lower() == c) + "x")


def test_marks_belong_to_their_words():
    """A vowel sign is no letter; words that are cut at each would never become one token."""
    for words in ("हिन्दी में शब्द", "ที่นี่"):
        tokenizer = train_tokenizer([words] * 9, 400)
        assert len(tokenizer.encode(words).ids) == len(words.split())


def test_any_unicode_comes_back():
    modality = text(max_tokens=400)
    samples = [*unicode_strings(200), "😀👩‍👩‍👧‍👦 日本語 עברית", "a\x00b", "\u202eabc", "tab\there"]
    for sample in samples:
        assert modality.show(modality.prepare(sample)) == sample


def test_case_and_composition_do_not_matter():
    modality = text()
    for one, other in [("A RED Circle", "a red circle"), ("gru\u0308n", "grün"), (" a ", "a")]:
        first, second = modality.prepare(one), modality.prepare(other)
        np.testing.assert_array_equal(first["tokens"], second["tokens"])


def test_the_tokenizer_is_the_same_whenever_it_is_trained():
    source = open_source(tiny_config())
    captions = [source[i].values["text"] for i in range(300)]
    first = train_tokenizer(captions, 400)
    assert first.to_str() == train_tokenizer(captions, 400).to_str()
    assert first.to_str() == train_tokenizer(captions[::-1], 400).to_str()
    assert first.get_vocab_size() <= 400
    assert first.token_to_id(PAD) == 0


def test_fit_reads_no_more_than_it_may():
    class Counted:
        info = open_source(tiny_config()).info
        bad = ()

        def __init__(self):
            self.read = []

        def where(self, index):
            return f"record {index}"

        def __len__(self):
            return 100

        def __getitem__(self, index):
            self.read.append(index)
            return open_source(tiny_config())[index]

    source, options = Counted(), input_options("text", fit_examples=10)
    assets = TEXT.fit(options, source)
    assert source.read == sorted(choose(10, 100))
    assert text().prepare("a")["mask"].sum() >= 1
    assert TEXT.build(options, SHARED, assets).prepare("a red circle")["mask"].any()


@pytest.fixture(scope="module")
def compiled():
    """(modality, encode, recover, parameters)."""
    modality = text()
    params = random_parameters(modality.init)
    return modality, jax.jit(modality.encode), jax.jit(modality.recover), params


def test_padding_is_masked_and_does_not_count(compiled):
    modality, encode, _, params = compiled
    value = stack(modality, CAPTIONS)
    encoding = encode(params["encoders"], value)
    np.testing.assert_array_equal(encoding.mask, value["mask"])
    assert encoding.tokens.shape == (4, 12, SHARED.width)
    assert encoding.mean.shape == encoding.log_precision.shape == (4, SHARED.pooled)
    garbage = jnp.where(value["mask"], value["tokens"], 77)
    other = encode(params["encoders"], value | {"tokens": garbage})
    np.testing.assert_array_equal(other.mean, encoding.mean)
    np.testing.assert_array_equal(other.log_precision, encoding.log_precision)
    mask = np.asarray(encoding.mask)
    np.testing.assert_array_equal(np.asarray(other.tokens)[mask], np.asarray(encoding.tokens)[mask])


def test_the_order_of_words_counts(compiled):
    modality, encode, _, params = compiled
    means = encode(params["encoders"], stack(modality, ["a b", "b a", "a b", "b b"])).mean
    assert np.abs(means[0] - means[1]).max() > 1e-3
    np.testing.assert_allclose(means[0], means[2], atol=1e-6)


def test_recovery_tells_captions_apart_and_equal_ones_not(compiled):
    modality, encode, recover, params = compiled
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3)), jnp.float32)

    def bound(captions):
        value = stack(modality, captions)
        encoding = encode(params["encoders"], value)
        return np.asarray(recover(params["recovery"], images, value, encoding).bound)

    np.testing.assert_allclose(bound(["a red circle"] * 4), np.zeros(4), atol=1e-5)
    different = bound(CAPTIONS)
    assert (different <= np.log(4) + 1e-5).all() and np.abs(different).min() > 1e-4
    half = bound([*CAPTIONS[:2], CAPTIONS[1], CAPTIONS[1]])
    assert (half[1:] <= np.log(2) + 1e-5).all() and (half <= np.log(4) + 1e-5).all()


def test_parse_takes_the_string_as_it_is():
    assert text().parse("a red circle") == "a red circle"


class Said:
    """Records with these captions."""

    info, bad = None, ()

    def __init__(self, *captions):
        self.captions = captions

    def __len__(self):
        return len(self.captions)

    def __getitem__(self, index):
        return Record(np.zeros((2, 2, 3), np.uint8), {"text": self.captions[index]})

    def where(self, index):
        return f"caption {index}"


def open_options():
    return input_options("text", max_tokens=0)


def fitted(*captions):
    """(assets, modality) of options that leave the length to these captions."""
    assets = TEXT.fit(open_options(), Said(*captions))
    return assets, TEXT.build(open_options(), SHARED, assets)


def test_a_length_that_is_left_open_holds_what_the_data_says():
    """All captions, alternatives and blanks among them, come through whole."""
    captions = [" ".join(["a red circle"] * n) for n in range(1, 40)]
    assets, modality = fitted(*captions, OneOf((captions[0], captions[-1])), " ")
    for caption in captions:
        assert modality.show(modality.prepare(caption)) == caption
        assert not modality.extent(caption).cut
    length = assets["chosen"]["max_tokens"]
    assert modality.absent["tokens"].shape == (length,) and length < MOST_TOKENS


def test_where_captions_are_short_a_usual_sentence_is_still_held():
    _, modality = fitted(*CAPTIONS)
    assert modality.show(modality.prepare(SENTENCE)) == SENTENCE.lower()


def test_one_caption_of_very_many_words_does_not_make_all_of_them_long():
    words = " ".join(f"word{n}" for n in range(2_000))
    assets, modality = fitted(*["a red circle"] * 400, words)
    assert assets["chosen"]["max_tokens"] < MOST_TOKENS
    extent = modality.extent(words)
    assert extent.cut and extent.room == assets["chosen"]["max_tokens"]
    assert fitted(words, words)[0]["chosen"]["max_tokens"] == MOST_TOKENS


def test_what_is_cut_of_a_caption_is_said():
    modality = text(max_tokens=5)
    whole = modality.extent("ein grüner Kreis")
    assert not whole.cut
    found = modality.extent("hier ist ein rotes Quadrat und ein grüner Kreis")
    assert found.cut and (found.room, found.unit) == (5, "tokens")
    fed = modality.show(modality.prepare("hier ist ein rotes Quadrat und ein grüner Kreis"))
    assert found.describe() == (
        f'cut after "...{fed[-24:]}": 5 of {found.whole} tokens are fed'
        " (config.modalities.text.max_tokens)"
    )


def test_assets_that_are_kept_are_given_a_length_for_the_new_data():
    assets, _ = fitted(*CAPTIONS)
    long = Said(" ".join(CAPTIONS * 9))
    kept = TEXT.refit(open_options(), assets, long)
    assert kept["chosen"]["max_tokens"] > assets["chosen"]["max_tokens"]
    assert kept["tokenizer"] == assets["tokenizer"]
    fixed = TEXT.refit(input_options("text"), assets, long)
    assert "chosen" not in fixed and fixed["tokenizer"] == assets["tokenizer"]


@pytest.mark.parametrize("chosen", [None, {}, [], {"max_tokens": 0}, {"max_tokens": 10**9}])
def test_a_length_that_was_never_chosen_is_refused(chosen):
    assets, _ = fitted(*CAPTIONS)
    with pytest.raises(InputError, match="max_tokens = 0 leaves it to the data") as error:
        TEXT.build(open_options(), SHARED, assets | {"chosen": chosen})
    assert "\n" not in str(error.value)
