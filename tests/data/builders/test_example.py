"""The example folder: what it holds is what `data=folder` reads, and what the README names."""

import numpy as np
import pytest
from PIL import Image

from mmgen_jax.data.builders.example import HIGH, MASK, build
from mmgen_jax.data.shapes import parse_caption, parse_tone
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import read_sound
from tests import folders


def test_it_is_a_folder_of_scenes(tmp_path):
    summary = build(tmp_path / "mine", limit=6, image_size=32)
    assert summary["records"] == sum(summary["labels"].values()) == 6
    source = folders.open_folder(tmp_path / "mine")
    assert len(source) == 6 and not source.bad
    record = source[0]
    assert record.image.shape == (32, 32, 3)
    parse_caption(record.values["text"]), parse_tone(record.values["audio"])
    assert record.values["label"] in summary["labels"]


def test_the_mask_and_the_tone_are_what_they_are_called(tmp_path):
    build(tmp_path / "mine", limit=2)
    assert np.asarray(Image.open(tmp_path / "mine" / MASK)).mean() == 127.5
    small = 0
    assert parse_tone(read_sound(str(tmp_path / "mine" / HIGH))) == small


@pytest.mark.parametrize("options", [{"limit": 1}, {"limit": 10**9}, {"image_size": 8}])
def test_sizes_are_checked(tmp_path, options):
    with pytest.raises(InputError, match="allowed: "):
        build(tmp_path / "mine", **options)
    assert not list(tmp_path.iterdir())
