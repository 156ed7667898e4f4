"""The data sets that are known by name, and any other of TFDS's: found, mapped, read, refused.

`tfds.testing.mock_data` works without TensorFlow where the builder's module does: for cifar10,
oxford_flowers102 and caltech_birds2011, not for coco_captions. It replaces what reads files, so it
cannot stand for a prepared data set; here it makes the records, and `tfds.builder` the features,
that are then written to the disk as `tfds build` does. Those of coco_captions are copied out.
"""

import functools
import io

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from configs import flow
from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.data import SOURCES, BadRecord, DataOptions, OneOf
from mmgen_jax.data.pipeline import fixed_batch, training_batches
from mmgen_jax.errors import InputError
from mmgen_jax.media.images import normalise, resize
from mmgen_jax.modalities.examples import prepare_example
from tests.launching import ROOT, assert_bad_input, launch, python
from tests.prepared import group, noise, options, png, prepare

F = tfds.features
COCO_FEATURES = {
    "image": F.Image(encoding_format="jpeg"),
    "image/filename": F.Text(),
    "image/id": np.int64,
    "objects": F.Sequence(
        {
            "id": np.int64,
            "area": np.int64,
            "bbox": F.BBoxFeature(),
            "label": F.ClassLabel(num_classes=80),
            "is_crowd": np.bool_,
        }
    ),
    "captions": F.Sequence({"text": np.str_, "id": np.int64}),
}
MOCKED = {
    "cifar10": "cifar10:3.0.2",
    "oxford_flowers102": "oxford_flowers102:2.1.1",
    "caltech_birds2011": "caltech_birds2011:0.2.0",
}
COCO = "coco_captions/2014:1.1.0"
TRAIN, TEST = 10, 3


def mocked(name, folder):
    """(the features of a standard data set, records of it)."""
    with tfds.testing.mock_data(num_examples=TRAIN):
        builder = tfds.builder(name, data_dir=folder)
        records = list(builder.as_data_source("train"))
    box = {"bbox": F.BBox(0.1, 0.1, 0.9, 0.9)} if "bbox" in builder.info.features else {}
    return builder.info.features, [record | box for record in records]


def seen(count):
    """Records as coco_captions has them: some without captions, some without objects."""
    for i in range(count):
        thing = {"id": i, "area": 4, "bbox": F.BBox(0.0, 0.0, 1.0, 1.0), "is_crowd": False}
        yield {
            "image": noise(20 + i, 30),
            "image/filename": f"{i}.jpg",
            "image/id": i,
            "objects": [thing | {"label": (7 * i + k) % 80} for k in range(i % 3)],
            "captions": [{"text": f"thing {i}.{k}", "id": k} for k in range((i + 1) % 4)],
        }


def encoded(record):
    return {
        key: png(value) if getattr(value, "ndim", 0) == 3 else value
        for key, value in record.items()
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(the folder of all four data sets, the records of each that were written)."""
    root = tmp_path_factory.mktemp("tensorflow_datasets")
    written = {}
    for name, full_name in MOCKED.items():
        features, records = mocked(name, root / "none")
        prepare(
            root,
            full_name,
            features,
            train=map(encoded, records),
            test=map(encoded, records[:TEST]),
        )
        written[name] = records
    records = list(seen(TRAIN))
    splits = {"train": TRAIN, "val": TEST, "test": TEST, "restval": TEST}
    splits = {split: map(encoded, records[:count]) for split, count in splits.items()}
    prepare(root, COCO, COCO_FEATURES, **splits)
    written["coco_captions"] = records
    return root, written


@pytest.fixture(autouse=True)
def place(prepared, monkeypatch):
    """TFDS's folder, and a working directory without data."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared[0]))
    monkeypatch.chdir(prepared[0].parent)
    return prepared[0]


def label_of(name, record):
    if name == "coco_captions":
        return {str(each["label"]) for each in record["objects"]}
    return {tfds.builder(name).info.features["label"].names[int(record["label"])]}


# What each modality is, as a set: empty for an absent one.
EXPECTED = {
    "cifar10": {"label": label_of},
    "oxford_flowers102": {"label": label_of},
    "caltech_birds2011": {
        "label": label_of,
        "text": lambda _, record: {record["label_name"].strip()},
        "image": lambda _, record: {square(np.repeat(record["segmentation_mask"], 3, axis=2))},
    },
    "coco_captions": {
        "label": label_of,
        "text": lambda _, record: {each["text"] for each in record["captions"]},
    },
}


def square(pixels):
    return resize(pixels, (16, 16)).tobytes()


def recipe(name, modalities):
    """configs/flow.py:data=NAME,..., small."""
    config = flow.get_config(f"data={name},modalities={'+'.join(modalities)}")
    config.data.image_size = 16
    config.modalities.text.max_tokens = 40
    return config


@pytest.mark.parametrize("name", EXPECTED)
def test_a_standard_data_set_feeds_a_batch(prepared, name):
    config = recipe(name, list(EXPECTED[name]))
    configs.validate(config)
    source = DataOptions.of(config).open("train")
    assert set(source.info.modalities) == EXPECTED[name].keys()
    model = models.build(config, models.fit(config, source))
    prepare_it = functools.partial(
        prepare_example, modalities=model.modalities, image_shape=(16, 16)
    )
    records = prepared[1][name]
    batch = fixed_batch(source, prepare_it, range(TRAIN))
    pictures = np.stack([normalise(resize(record["image"], (16, 16))) for record in records])
    np.testing.assert_array_equal(batch["image"], pictures)
    for modality, expected in EXPECTED[name].items():
        show = model.modalities[modality].show
        for row, record in enumerate(records):
            allowed = expected(name, record)
            assert batch["has"][modality][row] == bool(allowed)
            value = jax.tree.map(lambda x, row=row: x[row], batch["values"][modality])
            shown = show(value)
            shown = shown.tobytes() if modality == "image" else shown
            assert not allowed or shown in allowed
    assert source.where(TRAIN - 1).endswith(f"train.array_record-00000, record {TRAIN - 1}")


def test_of_several_captions_and_labels_any_may_be_drawn(prepared):
    source = SOURCES["coco_captions"].open(options("coco_captions"), "train")
    record = source[2]
    assert record.values["text"] == OneOf(["thing 2.0", "thing 2.1", "thing 2.2"])
    assert record.values["label"] == OneOf(["14", "15"])
    assert "text" not in source[3].values and "label" not in source[3].values


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cifar10", ""),
        ("cifar10", "cifar10"),
        ("cifar10", "cifar10:3.0.2"),
        ("cifar10", "{root}/cifar10/3.0.2"),
        ("cifar10", "{root}/cifar10"),
        ("cifar10", "{here}/cifar10"),
        ("coco_captions", ""),
        ("coco_captions", "coco_captions/2014"),
        ("coco_captions", "coco_captions/2014:1.1.0"),
        ("coco_captions", "{root}/coco_captions/2014"),
        ("tfds", "caltech_birds2011:0.2.0"),
        ("tfds", "coco_captions/2014:1.1.0"),
    ],
)
def test_a_data_set_is_found_by_its_name_and_by_its_folder(place, name, path):
    found = options(name, path=path.format(root=place, here=place.name))
    assert len(SOURCES[name].open(found, "train")) == TRAIN


PREPARE = (
    "on a machine with a network run `pip install tensorflow-datasets tensorflow-cpu"
    " importlib_resources{}` and `tfds build {} --file_format=array_record`, and copy its"
    " ~/tensorflow_datasets to this one"
)


@pytest.mark.parametrize(
    ("name", "needs", "full_name"),
    [
        ("cifar10", "", "cifar10"),
        ("oxford_flowers102", " scipy", "oxford_flowers102"),
        ("caltech_birds2011", " opencv-python-headless", "caltech_birds2011"),
        ("coco_captions", "", "coco_captions/2014"),
    ],
)
def test_one_that_is_not_there_is_refused_with_the_command_that_prepares_it(
    tmp_path, monkeypatch, name, needs, full_name
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    config = f"--config={ROOT}/configs/flow.py:data={name},modalities=label"
    done = launch("launch/train.py", config, f"--workdir={tmp_path / 'run'}")
    words = f"no data set in {full_name}, nor {full_name} in {tmp_path}"
    assert_bad_input(done, words, PREPARE.format(needs, full_name))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "features", "keys", "modality", "value"),
    [
        ("cifar10", {"text": "label"}, {}, "text", ["2"]),
        ("coco_captions", {"text": "image/filename"}, {}, "text", ["2.jpg"]),
        ("coco_captions", {"text": "captions/text+image/filename"}, {}, "text",
         ["thing 2.0", "thing 2.1", "thing 2.2", "2.jpg"]),
        ("coco_captions", {"text": "objects/label"}, {}, "text", ["14", "15"]),
        ("tfds", {"label": "objects/label"}, {"path": "coco_captions/2014"}, "label", ["14", "15"]),
    ],
)  # fmt: skip
def test_features_may_be_chosen(prepared, name, features, keys, modality, value):
    record = SOURCES[name].open(options(name, features, **keys), "train")[2]
    if name == "cifar10":
        value = [str(prepared[1][name][2]["label"])]
    assert record.values[modality] == (OneOf(value) if value[1:] else value[0])


def test_any_picture_may_be_the_target(prepared):
    birds = options("caltech_birds2011", {"image": "image"}, target="segmentation_mask")
    record = SOURCES["caltech_birds2011"].open(birds, "train")[0]
    written = prepared[1]["caltech_birds2011"][0]
    np.testing.assert_array_equal(record.image, np.repeat(written["segmentation_mask"], 3, axis=2))
    np.testing.assert_array_equal(record.values["image"], written["image"])


@pytest.mark.parametrize(
    ("name", "features", "keys", "words"),
    [
        ("cifar10", {"text": "caption"}, {},
         "data.features.text = 'caption' in cifar10: there is no feature 'caption'; allowed: id,"),
        ("cifar10", {"label": "id"}, {},
         "config.data.features.label = 'id' in cifar10 is a text; allowed: a class label"),
        ("cifar10", {"audio": "image"}, {}, "audio = 'image' in .* a picture; allowed: a sound"),
        ("cifar10", {"image": "label"}, {}, "is a class label; allowed: a picture"),
        ("cifar10", {"text": "label+image"}, {}, "is a picture; allowed: a text or a class label"),
        ("cifar10", {}, {"target": "label"}, "config.data.target = 'label' .* allowed: a picture"),
        ("cifar10", {}, {"target": "photo"}, "config.data.target = 'photo' .* there is no feature"),
        ("caltech_birds2011", {"text": "bbox"}, {}, "feature 'bbox' is of type BBoxFeature"),
        ("coco_captions", {"text": "captions/id"}, {}, "'captions/id' is of type .*; allowed: T"),
        ("coco_captions", {}, {"languages": ("de",)},
         r"languages = \('de',\): .* does not say in which language a text is; allowed: \(\)"),
        ("tfds", {}, {}, "config.data.path is empty; allowed: the folder of a TFDS data set, or"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_work_is_refused_before_anything_is_read(name, features, keys, words):
    with pytest.raises(InputError, match=words) as refusal:
        SOURCES[name].describe(options(name, features, **keys))
    assert "\n" not in str(refusal.value)


def test_a_modality_under_another_feature_is_named_with_the_flag(tmp_path):
    features = {"image": F.Image(), "title": F.Text(), "group": F.ClassLabel(names=["a"])}
    record = {"image": png(noise(4, 4)), "title": "x", "group": "a"}
    folder = prepare(tmp_path, "odd:1.0.0", features, train=[record], test=[record])
    config = configs.default()
    config.data = group("tfds", path=str(folder))
    for name, flag in {
        "label": "label=group",
        "text": "text=FEATURE, such as group, title",
    }.items():
        config.modalities.names = (name,)
        with pytest.raises(InputError) as error:
            configs.validate(config)
        said = f"its features: group, image, title; type --config.data.features.{flag}"
        assert str(error.value) == f"data set 'tfds' has no modality {name!r}; it has: none; {said}"


def test_a_record_with_more_or_less_than_one_target_is_bad(tmp_path):
    features = {"views": F.Sequence(F.Image())}
    records = [{"views": [png(noise(4, 4))] * count} for count in (0, 1, 2)]
    folder = prepare(tmp_path, "views:1.0.0", features, train=records)
    none, one, two = SOURCES["tfds"].open(
        options("tfds", path=str(folder), target="views"), "train"
    )
    assert one.image.shape == (4, 4, 3)
    for record, number in ((none, 0), (two, 2)):
        with pytest.raises(BadRecord, match=f"record {number}: it does not have exactly one pict"):
            np.asarray(record.image)


def test_a_default_of_no_use_is_no_modality(tmp_path):
    """Another data set's `text` or `label` may be anything."""
    features = {
        "image": F.Image(),
        "text": F.Sequence(np.int64),
        "label": np.int64,
        "audio": F.Tensor(shape=(2, 2), dtype=np.float32),
    }
    record = {"image": png(noise(4, 4)), "text": [1], "label": 1, "audio": np.zeros((2, 2), "f4")}
    folder = prepare(tmp_path, "odd:1.0.0", features, train=[record])
    assert SOURCES["tfds"].describe(options("tfds", path=str(folder))).modalities == ()
    with pytest.raises(InputError, match=r"features.label = 'label' .* is of type .*int64"):
        SOURCES["tfds"].describe(options("tfds", {"label": "label"}, path=str(folder)))


GOOD = {"image": lambda: png(noise(4, 4)), "label": lambda: 1, "text": lambda: "fine"}
DAMAGE = {
    "picture": (
        {"image": lambda: io.BytesIO(png(noise(9, 9)).read()[:90])},
        "the picture is broken",
    ),
    "no picture": ({"image": lambda: io.BytesIO(b"words")}, "it is no picture"),
    "label": ({"label": lambda: 7}, "label 7 is out of range; allowed: 0 to 2"),
    "bytes": ({"text": lambda: b"B\xe4r"}, r"text b'B\xe4r' is no UTF-8"),
    "empty": ({"text": lambda: " "}, "caption ' ' is empty"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named_or_skipped(tmp_path, damage):
    broken, reason = DAMAGE[damage]
    features = {"image": F.Image(), "label": F.ClassLabel(num_classes=9), "text": F.Text()}
    lines = [GOOD, GOOD | broken, GOOD]
    records = [{key: make() for key, make in line.items()} for line in lines]
    folder = prepare(tmp_path, "torn:1.0.0", features, train=records)
    described = folder / "features.json"
    text = described.read_text(encoding="utf-8")
    assert '"numClasses": "9"' in text
    described.write_text(text.replace('"numClasses": "9"', '"numClasses": "3"'), encoding="utf-8")

    config = recipe("tfds", ["text", "label"])
    config.data.path = str(folder)
    source = DataOptions.of(config).open("train")
    model = models.build(config, models.fit(config, source))
    prepare_it = functools.partial(
        prepare_example, modalities=model.modalities, image_shape=(16, 16)
    )
    stream = functools.partial(training_batches, source, prepare_it, 3, 0, shuffle=False)
    place = f"{folder}/torn-train.array_record-00000, record 1"
    with pytest.raises(BadRecord) as bad:
        next(stream())
    assert bad.value.where == place and bad.value.reason.startswith(reason)
    batches = stream(on_bad_record="skip")
    batch = next(batches)
    np.testing.assert_array_equal(batch["image"][1], batch["image"][2])
    assert list(batches.skipped) == [place]


WITHOUT_TENSORFLOW = """
import functools, sys
from mmgen_jax import config as configs

config = configs.default()
config.data.name, config.data.image_size = "coco_captions", 16
config.modalities.names = ("text", "label")
configs.validate(config)
print("jax" in sys.modules)

from mmgen_jax import model as models
from mmgen_jax.data import DataOptions
from mmgen_jax.modalities.examples import prepare_example
from mmgen_jax.data.pipeline import training_batches

source = DataOptions.of(config).open("train")
model = models.build(config, models.fit(config, source))
prepare = functools.partial(prepare_example, modalities=model.modalities, image_shape=(16, 16))
batch = next(training_batches(source, prepare, 4, 0))
print(batch["image"].shape, "tensorflow" in sys.modules)
"""


def test_neither_jax_nor_tensorflow_is_needed(place):
    """Checking a config does without jax, and a batch without TensorFlow."""
    done = python("-c", WITHOUT_TENSORFLOW, TFDS_DATA_DIR=str(place))
    assert (done.code, done.out) == (0, "False\n(4, 16, 16, 3) False\n"), done.err
