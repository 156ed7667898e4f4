"""Modality `label`: names, and a classifier's log-likelihood."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.data import SourceInfo
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import ReaderSizes, Shared
from mmgen_jax.modalities.label.keys import LABEL
from mmgen_jax.modalities.reader import ImageReader
from tests.tiny import input_options, open_source, random_parameters, tiny_config

SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))
NAMES = ["cat", "dog", "fish", "bird", "cow"]


@pytest.fixture(scope="module")
def label():
    return LABEL.build(input_options("label"), SHARED, {"names": NAMES})


@pytest.fixture(scope="module")
def params(label):
    return random_parameters(label.init)


def source_of(*names):
    """A source of no records that has these classes."""
    info = SourceInfo(("label",), ("train",), {"label": names})
    return dataclasses.replace(open_source(tiny_config()), info=info)


def test_fit_keeps_the_data_sets_order():
    source = open_source(tiny_config())
    assert LABEL.fit(input_options("label"), source) == {"names": list(source.info.label_names)}


def test_prepare_and_show_are_inverse(label):
    for number, name in enumerate(NAMES):
        value = label.prepare(label.parse(name))
        assert value["label"] == number
        assert value["label"].dtype == np.int32 and value["label"].shape == ()
        assert label.show(value) == name
    assert label.absent["label"].dtype == np.int32 and label.absent["label"].shape == ()


def test_an_unknown_label_is_refused_with_what_is_allowed(label):
    with pytest.raises(InputError, match=r"^unknown label 'Cat'; allowed: cat, dog, fish, bird"):
        label.prepare("Cat")
    many = LABEL.build(input_options("label"), SHARED, {"names": [str(k) for k in range(1000)]})
    with pytest.raises(InputError) as error:
        many.prepare("x")
    assert str(error.value).endswith("18, 19, ...")


def test_a_near_name_is_suggested(label):
    with pytest.raises(InputError, match=r"unknown label 'brid'; allowed: .*; did you mean 'bird'"):
        label.prepare(label.parse("brid"))


def test_a_command_line_may_write_another_case(label):
    assert label.prepare(label.parse(" FISH ")) == label.prepare("fish")
    two = LABEL.build(input_options("label"), SHARED, {"names": ["us", "US"]})
    assert [two.prepare(two.parse(name))["label"] for name in ("us", "US")] == [0, 1]
    with pytest.raises(InputError, match="unknown label 'Us'; .* did you mean"):
        two.prepare(two.parse("Us"))


def test_a_number_is_the_class_of_that_name():
    months = LABEL.build(input_options("label"), SHARED, {"names": [str(k) for k in range(1, 13)]})
    assert [int(months.prepare(raw)["label"]) for raw in ("1", 1, np.int64(12))] == [0, 0, 11]
    with pytest.raises(InputError, match="unknown label 0; allowed: 1, 2"):
        months.prepare(0)


def test_names_of_an_older_run_keep_their_numbers():
    """It was fitted before names were normalized; today's data say `Café` and `cat`."""
    names = ["cat ", "Cafe\u0301", "cat", "dog  house"]
    label = LABEL.build(input_options("label"), SHARED, {"names": names})
    assert [int(label.prepare(name)["label"]) for name in ("cat", "Café", "dog house")] == [2, 1, 3]
    assert label.show({"label": 1}) == names[1]
    assert LABEL.serves(input_options("label"), {"names": names}, source_of("Café", "dog house"))
    assert not LABEL.serves(input_options("label"), {"names": names}, source_of("Café", "dog"))


def test_fit_makes_one_class_of_names_that_are_one():
    source = source_of("dog", "Cafe\u0301", "cat", "Café", "cat ")
    assert LABEL.fit(input_options("label"), source) == {"names": ["dog", "Café", "cat"]}


def test_an_encoding_is_one_token_of_its_class(label, params):
    encode = jax.jit(label.encode)
    encoding = encode(params["encoders"], {"label": jnp.array([0, 1, 2, 1])})
    assert encoding.tokens.shape == (4, 1, SHARED.width) and encoding.mask.all()
    assert encoding.mean.shape == encoding.log_precision.shape == (4, SHARED.pooled)
    np.testing.assert_array_equal(encoding.tokens[1], encoding.tokens[3])
    assert np.abs(encoding.tokens[0] - encoding.tokens[1]).max() > 1e-3


def test_recovery_is_the_log_softmax_of_its_logits(label, params):
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (5, 16, 16, 3)), jnp.float32)
    labels = jnp.array([3, 1, 4, 1, 0])
    head = params["recovery"]

    @jax.jit
    def run(images, labels):
        features = ImageReader(SHARED).apply({"params": head["ImageReader_0"]}, images)
        return features, label.recover(head, images, {"label": labels}, None)

    features, recovery = run(images, labels)
    kernel, bias = (np.asarray(head["logits"][name], np.float64) for name in ("kernel", "bias"))
    logits = np.asarray(features, np.float64) @ kernel + bias
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(recovery.bound, log_softmax[range(5), labels], atol=1e-5)
    np.testing.assert_array_equal(recovery.correct, logits.argmax(axis=1) == np.asarray(labels))

    everything = [run(images, jnp.full(5, k))[1].bound for k in range(len(NAMES))]
    np.testing.assert_allclose(np.exp(everything).sum(axis=0), np.ones(5), atol=1e-5)
