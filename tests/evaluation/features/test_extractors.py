"""What turns pictures into features, and what scores of them are called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation import features as extractors
from mmgen_jax.evaluation.features import EXTRACTORS, Extraction, Extractor, build
from mmgen_jax.evaluation.judges import classifier
from tests import prepared

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), np.uint8)


@pytest.fixture
def judge(tmp_path):
    params = classifier.Classifier(4).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), None)
    trained = classifier.Trained(params["params"], tuple("abcd"), 8, 0.5)
    classifier.save(trained, tmp_path / "judge.safetensors")
    return trained, tmp_path


def test_a_classifier_gives_its_last_hidden_layer_and_its_name(judge):
    trained, folder = judge
    data = prepared.options("digits", path=str(folder))
    extractor = build(Extraction(), data)
    features, logits = extractor.read(IMAGES)
    assert features.shape == (5, extractor.features) and logits.shape == (5, 4)
    np.testing.assert_array_equal(logits.argmax(-1), classifier.predict(trained, IMAGES))
    assert extractor.titles["fid"] == "FD(digits classifier)"
    assert not any(title in extractor.titles.values() for title in ("FID", "KID", "IS"))


def test_pictures_may_differ_in_size(judge):
    extractor = build(Extraction("classifier", judge[1] / "judge.safetensors"), None)
    mixed = [IMAGES[0], IMAGES[1, :7], IMAGES[2]]
    features = extractor.read(mixed)[0]
    np.testing.assert_allclose(features[[0, 2]], extractor.read(IMAGES[[0, 2]])[0], atol=1e-5)


def test_the_identity_is_of_the_weights(judge):
    trained, folder = judge
    extraction = Extraction("classifier", folder / "judge.safetensors")
    one = build(extraction, None)
    assert build(extraction, None).identity == one.identity
    other = jax.tree.map(lambda x: x + 0.1, trained.params)
    classifier.save(trained._replace(params=other), folder / "judge.safetensors")
    assert build(extraction, None).identity != one.identity


def test_one_from_outside_is_found_by_name(monkeypatch):
    monkeypatch.setattr(EXTRACTORS, "_targets", dict(EXTRACTORS._targets))

    def pixels(asked, data):
        flat = lambda images: np.stack(images).reshape(len(images), -1).astype(np.float32)  # noqa: E731
        read = lambda images: (flat(images), flat(images)[:, :2])  # noqa: E731
        return Extractor("pixels", "0" * 64, 360, read, extractors.titles("pixels"))

    EXTRACTORS.register("pixels", pixels)
    assert build(Extraction("pixels"), None).titles["kid"] == "KD(pixels)"


@pytest.mark.parametrize(
    ("extraction", "message"),
    [
        (Extraction("inception"), "extractor 'inception' needs --weights=FILE.safetensors"),
        (Extraction("classifier"), "extractor 'classifier' needs --weights=FILE.safetensors"),
        (Extraction("eye"), "unknown extractor 'eye'; allowed: inception, classifier"),
    ],
)
def test_what_is_not_there_is_refused(extraction, message):
    with pytest.raises(InputError, match=f"^{message}"):
        build(extraction, None)


def test_wrong_weights_and_modes_are_refused(tmp_path):
    path = tmp_path / "inception.safetensors"
    safetensors.numpy.save_file({"fc.weight": np.zeros((3, 4), np.float32)}, path)
    with pytest.raises(InputError, match="--resize=nearest is unknown; allowed: clean, legacy_py"):
        build(Extraction("inception", path, "nearest"), None)
    with pytest.raises(InputError, match="the Inception-v3 of the FID") as refused:
        build(Extraction(None, path), None)
    assert "\n" not in str(refused.value)


def test_a_classifier_of_the_wrong_shape_is_refused(judge):
    trained, folder = judge
    classifier.save(trained._replace(image_size=16), folder / "judge.safetensors")
    with pytest.raises(InputError, match=r"judge.safetensors: hidden/kernel is .*; allowed for"):
        build(Extraction("classifier", folder / "judge.safetensors"), None)


def test_a_pickle_is_refused(tmp_path):
    with pytest.raises(InputError, match="inception.pth is a pickle.*safetensors"):
        build(Extraction(None, tmp_path / "inception.pth"), None)
