"""Languages, with drawing replaced by what understands some of them."""

import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.data import DataOptions
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics.languages import languages
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests import folders
from tests.tiny import tiny_config, tiny_model

NAMES = ("text", "label", "audio")


@pytest.fixture(scope="module")
def trained():
    return Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)


def test_languages_are_compared_with_the_first_one(tmp_path, monkeypatch):
    """English is right but for three pictures; German as English; French for even numbers."""
    texts = lambda k: {language: f"{language} {k}" for language in ("en", "de", "fr")}  # noqa: E731
    lines = [{"file_name": f"{k}.png", "text": texts(k)} for k in range(12)]
    del lines[4]["text"]["fr"]
    folders.write(tmp_path, *lines)
    pictures = [folders.paint(tmp_path / f"{k}.png", size=(16, 16)) for k in range(12)]
    config = tiny_config(("text",))
    config.data = folders.group(tmp_path, image_size=16, split="all", languages=("en", "de", "fr"))
    model = models.build(config, models.fit(config, DataOptions.of(config).open("all")))

    def draw(self, part):
        drawn = []
        for tokens, mask in zip(*part.values["text"].values(), strict=True):
            said = model.modalities["text"].show({"tokens": tokens, "mask": mask})
            language, number = said.split()[0], int(said.split()[1])
            right = number > 2 and (language != "fr" or number % 2 == 0)
            drawn.append(pictures[number] if right else pictures[number - 1])
        return np.stack(drawn)

    monkeypatch.setattr(Drawing, "__call__", draw)
    found = languages(Asked(Trained(config, model, {}, {}, 0), 12, 0))
    rates = {name: (row["rate"], row["count"]) for name, row in found.numbers.items()}
    assert rates == {"de": (1.0, 9), "fr": (3 / 8, 8)}  # 6, 8, 10 of 3, 5, 6, 7, ..., 11
    assert [heading for heading, _ in found.sections] == ["en", "de", "fr"]


def test_a_record_that_is_bad_in_one_language_moves_no_other(tmp_path, monkeypatch):
    """The German caption of the third record is blank: it counts in English alone."""
    texts = lambda k: {language: f"{language} {k}" for language in ("en", "de")}  # noqa: E731
    lines = [{"file_name": f"{k}.png", "text": texts(k)} for k in range(8)]
    lines[2]["text"]["de"] = " "
    folders.write(tmp_path, *lines)
    pictures = [folders.paint(tmp_path / f"{k}.png", size=(16, 16)) for k in range(8)]
    keys = {"image_size": 16, "split": "all", "on_bad_record": "skip"}
    config = tiny_config(("text",))
    config.data = folders.group(tmp_path, languages=("en", "de"), **keys)
    model = models.build(config, models.fit(config, DataOptions.of(config).open("all")))

    def draw(self, part):
        said = [
            model.modalities["text"].show({"tokens": tokens, "mask": mask})
            for tokens, mask in zip(*part.values["text"].values(), strict=True)
        ]
        return np.stack([pictures[int(caption.split()[1])] for caption in said])

    monkeypatch.setattr(Drawing, "__call__", draw)
    found = languages(Asked(Trained(config, model, {}, {}, 0), 8, 0))
    assert {name: (row["rate"], row["count"]) for name, row in found.numbers.items()} == {
        "de": (1.0, 7)
    }


def test_languages_need_two(trained):
    with pytest.raises(InputError, match=r"several config\.data\.languages"):
        languages(Asked(trained, 2, 0))
