"""Features of real pictures are made once, and belong to what made them."""

import json

import numpy as np
import pytest

from mmgen_jax.data import DataOptions
from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.cache import Memo
from mmgen_jax.evaluation.features import Extractor, references, titles
from mmgen_jax.evaluation.judges import classifier
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests import folders
from tests.tiny import tiny_config, tiny_model

NAMES = ("label",)


def means(identity="1" * 64, asked=None):
    """An extractor of the mean of each colour; counts what it reads."""

    def read(pictures):
        rows = [np.asarray(picture, np.float32).mean((0, 1)) for picture in pictures]
        if asked is not None:
            asked.append(len(rows))
        return np.stack(rows), np.zeros((len(rows), 2), np.float32)

    return Extractor("means", identity, 3, read, titles("means"))


@pytest.fixture
def folder(tmp_path):
    pictures = [folders.paint(tmp_path / "real" / f"{k}.png", size=(4 + k, 5)) for k in range(5)]
    return tmp_path / "real", pictures


def test_a_folder_is_read_once(folder, tmp_path, monkeypatch):
    path, pictures = folder
    monkeypatch.setattr(references, "PART", 2)
    asked = []
    for _ in range(2):
        found = references.of_folder(path, means(asked=asked), tmp_path / "kept", Memo())
        expected = [picture.mean((0, 1)) for picture in pictures]
        np.testing.assert_allclose(found.features, expected, rtol=1e-6)
    assert asked == [2, 2, 1]
    assert found.facts["data"] == "real" and found.facts["count"] == 5
    folders.paint(path / "0.png", size=(4, 5))  # as many bytes, perhaps; other pixels
    other = references.of_folder(path, means(asked=asked), tmp_path / "kept", Memo())
    assert (other.features[0] != found.features[0]).all()
    folders.paint(path / "5.png")
    assert (
        len(references.of_folder(path, means(asked=asked), tmp_path / "kept", Memo()).features) == 6
    )


def test_features_of_another_extractor_are_refused(folder, tmp_path):
    references.of_folder(folder[0], means(), tmp_path / "kept", Memo())
    (file,) = (tmp_path / "kept").iterdir()
    again = references.of_folder(file, means(), tmp_path / "kept", Memo())
    assert len(again.features) == 5
    with pytest.raises(InputError, match=r"holds features of means \(11111111\); allowed: .*2222"):
        references.of_folder(file, means("2" * 64), tmp_path / "kept", Memo())
    whole = file.read_bytes()
    for bit in range(8 * (len(whole) - 60), 8 * len(whole), 37):  # of the features themselves
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(InputError, match="cannot read features .* delete it"):
            references.of_folder(file, means(), tmp_path / "kept", Memo())
    file.write_bytes(whole[:40])
    with pytest.raises(InputError, match="cannot read features of real pictures in"):
        references.of_folder(file, means(), tmp_path / "kept", Memo())


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    message = r"holds no pictures \(left out 1: 1 .txt\); allowed: a folder of .png"
    with pytest.raises(InputError, match=message):
        references.of_folder(tmp_path, means(), tmp_path / "kept", Memo())
    with pytest.raises(InputError, match="nowhere is no folder; allowed: a folder of .png"):
        references.of_folder(tmp_path / "nowhere", means(), tmp_path / "kept", Memo())


def test_what_a_folder_holds_besides_pictures_is_said(tmp_path, capfd):
    for name in ("a.png", "b.tiff", ".thumbs/a.png"):
        folders.paint(tmp_path / name)
    (tmp_path / "._a.png").write_bytes(b"AppleDouble")
    files = references.picture_files(tmp_path)
    assert [file.name for file in files] == ["a.png", "b.tiff"]
    assert f"{tmp_path}: 2 pictures; left out 2: 2 hidden" in capfd.readouterr().out


def test_a_split_is_read_once_for_each_extractor_and_size(tmp_path, monkeypatch):
    monkeypatch.setattr(references, "MOST", 20)
    trained = Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)
    draw, asked = Drawing(trained, 0), []
    for split in ("test", "test", "train"):
        found = references.of_run(
            draw,
            DataOptions.of(trained.config),
            split,
            means(asked=asked),
            tmp_path / "kept",
            Memo(),
        )
        source = draw.open(split)
        own = [source[i].image for i in spread(source, 20)]
        np.testing.assert_allclose(found.features, [image.mean((0, 1)) for image in own], rtol=1e-6)
    assert asked == [20, 20] and found.facts["split"] == "train"
    references.of_run(
        draw,
        DataOptions.of(trained.config),
        "train",
        means("2" * 64, asked),
        tmp_path / "kept",
        Memo(),
    )
    assert asked == [20, 20, 20]


def test_an_interrupted_reading_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(references, "PART", 2)
    asked, memo = [], Memo(tmp_path / "parts")
    torn = means(asked=asked)

    def read(pictures):
        if len(asked) == 2:
            raise KeyboardInterrupt
        return means(asked=asked).read(pictures)

    with pytest.raises(KeyboardInterrupt):
        references.of_folder(folder[0], torn._replace(read=read), tmp_path / "kept", memo)
    assert not (tmp_path / "kept").exists()
    asked.clear()
    found = references.of_folder(folder[0], torn, tmp_path / "kept", memo)
    assert asked == [1] and len(found.features) == 5


def test_features_of_a_type_that_numpy_lacks_are_refused(tmp_path):
    head = {"features": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}}
    text = json.dumps(head).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(InputError, match="cannot read features of real pictures in"):
        references.of_folder(path, means(), tmp_path / "kept", Memo())
    with pytest.raises(InputError, match="cannot read the judge in"):
        classifier.load(path, "")
