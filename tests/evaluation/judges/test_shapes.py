"""The judge of `shapes`."""

import itertools

import numpy as np
import pytest

from mmgen_jax.data import shapes
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import shapes as shapes_judge
from tests import prepared

OPTIONS = prepared.options("shapes", image_size=32)
MODALITIES = ("text", "label", "audio", "image")


def records(split, count, image_size=32):
    source = shapes.SHAPES.open(prepared.options("shapes", image_size=image_size), split)
    examples = [source[index] for index in range(count)]
    return np.stack([e.image for e in examples]), [e.values for e in examples]


def pictures(table, seed=0):
    """One scene of each combination, anywhere in its cell."""
    jitter = np.random.default_rng(seed).uniform(-1, 1, (len(table), 2))
    scenes = [shapes.Scene(*row, *offset) for row, offset in zip(table, jitter, strict=True)]
    return np.stack([shapes.draw(scene, 32) for scene in scenes])


def asked(table):
    return {
        modality: {
            name: table[:, ("shape", "colour", "size", "position").index(name)] for name in names
        }
        for modality, names in shapes_judge.ATTRIBUTES.items()
    }


@pytest.mark.parametrize(("split", "count"), [("train", 4000), ("test", 3000), ("heldout", 3000)])
def test_every_true_scene_satisfies_all_its_inputs(split, count):
    results = shapes_judge.satisfied(*records(split, count))
    assert set(results) == set(MODALITIES)
    assert all(hits.shape == (count,) and hits.all() for hits in results.values())


@pytest.mark.parametrize("image_size", [16, 24, 64])
def test_true_scenes_of_other_sizes_satisfy_all_their_inputs(image_size):
    results = shapes_judge.satisfied(*records("train", 300, image_size))
    assert all(hits.all() for hits in results.values())


def test_the_judge_reads_every_attribute():
    table = np.concatenate([shapes.combinations(split) for split in ("train", "heldout")])
    judgement = shapes_judge.judge(pictures(table))
    assert np.array_equal(np.stack(judgement[:4], axis=1), table)
    assert judgement.misfit.max() == 0


def test_shuffled_conditions_are_satisfied_exactly_by_chance():
    """All cyclic shifts pair every image with every condition once: no tolerance."""
    table = shapes.combinations("train")
    judgement = shapes_judge.judge(pictures(table))
    subsets = [s for k in range(1, 5) for s in itertools.combinations(MODALITIES, k)]
    counts = dict.fromkeys(subsets, 0)
    for shift in range(len(table)):
        results = shapes_judge.compare(judgement, asked(np.roll(table, shift, axis=0)))
        for subset in subsets:
            counts[subset] += int(np.all([results[m] for m in subset], axis=0).sum())
    for subset, count in counts.items():
        assert count / len(table) ** 2 == shapes_judge.chance(subset)


def test_chance_is_what_counting_by_hand_gives():
    assert shapes_judge.chance(("audio",)) == 1 / 2
    assert shapes_judge.chance(("text",)) == 1 / 24
    assert shapes_judge.chance(("text", "label", "audio")) == 1 / 384
    # Nothing that was trained on satisfies the shape, colour and position of a held-out scene.
    assert shapes_judge.chance(("text", "label"), "heldout") == 0
    # One (shape, colour) has 8 positions in training, each position 21 or 22 of the 192 pairs.
    assert shapes_judge.chance(("label",)) == (6 * 21**2 + 3 * 22**2) / 192**2


def test_satisfaction_declines_under_noise():
    images, values = records("test", 300)
    wanted = shapes_judge.read(values)
    noise = np.random.default_rng(0).normal(size=images.shape)
    rates = []
    for level in (0, 15, 20, 22, 24, 26, 30, 60, 120):
        noisy = np.clip(images + level * noise, 0, 255).astype(np.uint8)
        results = shapes_judge.compare(shapes_judge.judge(noisy), wanted)
        rates.append(np.all(list(results.values()), axis=0).mean())
    assert rates[0] == 1 and rates[-1] == 0
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) >= 4


def blank():
    levels = np.linspace(0, 255, 100).astype(np.uint8)
    colours = np.stack([shapes.BACKGROUND, *shapes.COLOURS.values()])
    greys = np.repeat(levels[:, None], 3, axis=1)
    return np.broadcast_to(np.concatenate([greys, colours])[:, None, None], (107, 32, 32, 3))


def uniform_noise():
    return np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), dtype=np.uint8)


def palette_noise():
    colours = np.stack([shapes.BACKGROUND, *shapes.COLOURS.values()])
    return colours[np.random.default_rng(0).integers(0, 7, (500, 32, 32))]


def faint_noise():
    noise = np.random.default_rng(0).normal(128, 40, (500, 32, 32, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def two_objects():
    table = np.random.default_rng(0).permutation(np.tile(shapes.combinations("train"), (4, 1)))
    first, second = np.split(table, 2)
    apart = first[:, 3] != second[:, 3]
    a, b = pictures(first[apart], seed=1), pictures(second[apart], seed=2)
    return np.where((b == shapes.BACKGROUND).all(axis=-1, keepdims=True), a, b)


@pytest.mark.parametrize(
    "nonsense", [blank, uniform_noise, palette_noise, faint_noise, two_objects]
)
def test_nonsense_satisfies_nothing(nonsense):
    images = nonsense()
    table = shapes.combinations("train")[np.arange(len(images)) % 384]
    judgement = shapes_judge.judge(images)
    results = shapes_judge.compare(judgement, asked(table))
    assert not judgement.accepted.any()
    assert not any(hits.any() for hits in results.values())


def test_half_an_object_is_not_the_whole():
    table = shapes.combinations("train")
    table = table[table[:, 0] != shapes.SHAPE_NAMES.index("triangle")]  # its top is one, too
    images = np.stack([shapes.draw(shapes.Scene(*row), 32) for row in table])
    middle = np.array(shapes.CENTRES)[table[:, 3] // 3]
    images[np.arange(32) > middle[:, None]] = shapes.BACKGROUND
    assert not shapes_judge.compare(shapes_judge.judge(images), asked(table))["image"].any()


@pytest.mark.parametrize(
    ("attribute", "broken"),
    [
        ("shape", {"text", "image"}),
        ("colour", {"text"}),
        ("size", {"audio", "image"}),
        ("position", {"label", "image"}),
    ],
)
def test_a_wrong_attribute_breaks_only_what_says_it(attribute, broken):
    _, values = records("test", 50)
    scenes = [shapes.scene(OPTIONS, "test", index) for index in range(50)]
    flipped = [s._replace(**{attribute: int(getattr(s, attribute) == 0)}) for s in scenes]
    images = np.stack([shapes.draw(scene, 32) for scene in flipped])
    results = shapes_judge.satisfied(images, values)
    for modality, hits in results.items():
        assert not hits.any() if modality in broken else hits.all()


def test_only_the_given_modalities_are_judged():
    images, values = records("test", 5)
    labels = [{"label": value["label"]} for value in values]
    assert set(shapes_judge.satisfied(images, labels)) == {"label"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "a dog"}, "must name one shape"),
        ({"label": "middle"}, "unknown label 'middle'"),
        ({"audio": np.zeros(4000, np.float32)}, "must hold a tone"),
        ({"image": np.zeros((32, 32, 3), np.uint8)}, "sketch of record 1"),
        ({"image": np.zeros((16, 16, 3), np.uint8)}, "one size"),
        ({"depth": 1}, "record 1 has"),
    ],
)
def test_an_input_that_says_nothing_is_refused(change, message):
    images, values = records("test", 2)
    with pytest.raises(InputError, match=message):
        shapes_judge.satisfied(images, [values[0], {**values[1], **change}])


def test_bad_arguments_are_refused():
    images, values = records("test", 2)
    with pytest.raises(InputError, match="uint8"):
        shapes_judge.judge(images.astype(np.float32))
    with pytest.raises(InputError, match="uint8"):
        shapes_judge.judge(images[:, :16])
    with pytest.raises(InputError, match="2 images cannot be judged by 1 records"):
        shapes_judge.satisfied(images, values[:1])
    with pytest.raises(InputError, match="no records"):
        shapes_judge.read([])
    with pytest.raises(InputError, match="cannot judge modality 'depth'"):
        shapes_judge.chance(("depth",))
    with pytest.raises(InputError, match="no split"):
        shapes_judge.chance(("text",), "validation")


def two(first, second):
    """A picture of two objects, each (shape, colour, size, position)."""
    one, other = (shapes.draw(shapes.Scene(*scene, 0.0, 0.0), 32) for scene in (first, second))
    return np.where((other != shapes.BACKGROUND).any(-1, keepdims=True), other, one)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # Asked for shape 0, colour 1, in cell 8: all is there, on two objects.
        ((0, 1, 0, 0), (1, 2, 0, 8), True),
        # One object has all, and there is another: that is no error of binding.
        ((0, 1, 0, 8), (1, 2, 0, 0), False),
        # The colour is nowhere.
        ((0, 3, 0, 0), (1, 2, 0, 8), False),
    ],
)
def test_an_error_of_binding_has_all_attributes_but_on_two_objects(first, second, expected):
    source = shapes.SHAPES.open(OPTIONS, "train")
    caption = f"a {shapes.COLOUR_NAMES[1]} {shapes.SHAPE_NAMES[0]}"
    values = [{"text": caption, "label": shapes.POSITION_NAMES[8]}] * 2
    images = np.stack([two(first, second), source[0].image])
    assert shapes_judge.misbound(images, values).tolist() == [expected, False]


def test_true_pictures_are_not_misbound():
    assert not shapes_judge.misbound(*records("test", 200)).any()
