"""The data set `shapes`: determinism, what is held out, and inputs that read back."""

import itertools

import numpy as np
import pytest

from mmgen_jax.data import SOURCES, shapes
from mmgen_jax.errors import InputError
from tests import prepared


def options(image_size=32, seed=0):
    return prepared.options("shapes", image_size=image_size, seed=seed)


def same(a, b):
    return (
        np.array_equal(a.image, b.image)
        and a.values.keys() == b.values.keys()
        and all(np.array_equal(a.values[name], b.values[name]) for name in a.values)
    )


def test_a_record_has_the_documented_types():
    for index in range(50):
        record = SOURCES["shapes"].open(options(), "train")[index]
        image, values = record.image, record.values
        assert image.shape == values["image"].shape == (32, 32, 3)
        assert image.dtype == values["image"].dtype == np.uint8
        assert values["label"] in shapes.POSITION_NAMES
        assert isinstance(values["text"], str)
        audio = values["audio"]
        assert audio.dtype == np.float32
        assert audio.ndim == 1 and 4000 <= len(audio) <= 8000
        assert np.abs(audio).max() <= 1


@pytest.mark.parametrize("split", ["train", "test", "heldout"])
def test_records_do_not_depend_on_the_order_of_access(split):
    source = shapes.SHAPES.open(options(), split)
    forward = [source[index] for index in range(40)]
    again = shapes.SHAPES.open(options(), split)
    assert all(same(again[index], forward[index]) for index in reversed(range(40)))


def test_records_differ_by_seed_split_and_index():
    records = [
        shapes.SHAPES.open(options(seed=seed), split)[index]
        for seed, split, index in itertools.product((0, 1), shapes.LENGTHS, (0, 1, 9_999))
    ]
    assert not any(same(a, b) for a, b in itertools.combinations(records, 2))


def test_streams_of_neighbouring_records_do_not_overlap():
    draws = [shapes._generator(0, "train", index).random(8000) for index in range(3)]
    assert len(np.unique(draws)) == 3 * 8000


def test_a_scene_is_the_scene_of_its_record():
    source = shapes.SHAPES.open(options(image_size=48), "test")
    for index in range(100):
        scene = shapes.scene(options(), "test", index)
        record = source[index]
        assert np.array_equal(shapes.draw(scene, 48), record.image)
        assert np.array_equal(shapes.sketch(scene, 48), record.values["image"])
        assert shapes.POSITION_NAMES[scene.position] == record.values["label"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_training_and_test_scenes_are_never_held_out(split):
    data = options()
    scenes = [shapes.scene(data, split, index) for index in range(5000)]
    assert not any(shapes.held_out(s.shape, s.colour, s.position) for s in scenes)
    assert len({scene[:4] for scene in scenes}) == len(shapes.combinations(split)) == 384


def test_held_out_scenes_are_all_held_out():
    data = options()
    scenes = [shapes.scene(data, "heldout", index) for index in range(1000)]
    assert all(shapes.held_out(s.shape, s.colour, s.position) for s in scenes)
    assert len({scene[:4] for scene in scenes}) == len(shapes.combinations("heldout")) == 48


def test_every_pair_of_attributes_is_trained_on():
    trained = shapes.combinations("train")
    sizes = (4, 6, 2, 9)
    for a, b in itertools.combinations(range(4), 2):
        assert len(np.unique(trained[:, [a, b]], axis=0)) == sizes[a] * sizes[b]


def test_captions_and_tones_read_back():
    data = options()
    source, captions = shapes.SHAPES.open(data, "train"), set()
    for index in range(2000):
        scene, values = shapes.scene(data, "train", index), source[index].values
        assert shapes.parse_caption(values["text"]) == (scene.shape, scene.colour)
        assert shapes.parse_tone(values["audio"]) == scene.size
        captions.add(values["text"])
    assert len(captions) == 4 * 6 * shapes.GRAMMARS


def test_german_is_inflected():
    white_circle, red_cross = shapes.Scene(0, 5, 0, 0), shapes.Scene(3, 0, 0, 0)
    assert shapes.caption(white_circle, 4) == "ein weißer Kreis"
    assert shapes.caption(white_circle, 7) == "das Bild zeigt einen weißen Kreis"
    assert shapes.caption(red_cross, 5) == "hier ist ein rotes Kreuz"
    assert shapes.caption(red_cross, 6) == "das Kreuz ist rot"


@pytest.mark.parametrize("text", ["", "a circle", "a red and blue circle", "a red circle or cross"])
def test_a_caption_that_is_not_of_one_object_is_refused(text):
    with pytest.raises(InputError, match="must name one shape"):
        shapes.parse_caption(text)


@pytest.mark.parametrize("frequency", [0.0, 100.0, 600.0, 4000.0])
def test_a_sound_without_a_known_tone_is_refused(frequency):
    sound = np.cos(2 * np.pi * frequency / 16_000 * np.arange(8000)).astype(np.float32)
    with pytest.raises(InputError, match="tone"):
        shapes.parse_tone(sound)


def test_no_sound_is_refused():
    with pytest.raises(InputError, match="tone"):
        shapes.parse_tone(np.zeros(0, np.float32))


@pytest.mark.parametrize("size", [16, 32, 64])
def test_objects_are_inside_the_picture_and_scale_with_it(size):
    for kind in itertools.product(range(4), range(6), range(2), range(9), (-1.0, 1.0), (-1.0, 1.0)):
        shown = (shapes.draw(shapes.Scene(*kind), size) != shapes.BACKGROUND).any(axis=-1)
        inside = (shapes.draw(shapes.Scene(*kind), size) == _colour(kind)).all(axis=-1)
        assert not (inside[[0, -1]].any() or inside[:, [0, -1]].any())
        assert 0.02 < shown.mean() < 0.14


def _colour(kind):
    return shapes.COLOURS[shapes.COLOUR_NAMES[kind[1]]]


def test_bad_options_are_refused():
    with pytest.raises(InputError, match="no split 'validation'; allowed: train, test, heldout"):
        shapes.SHAPES.open(options(), "validation")
    with pytest.raises(InputError, match="image_size=8"):
        shapes.SHAPES.describe(options(image_size=8))
    with pytest.raises(InputError, match="seed=-1"):
        shapes.SHAPES.open(options(seed=-1), "train")
    with pytest.raises(IndexError):
        shapes.SHAPES.open(options(), "test")[10_000]
