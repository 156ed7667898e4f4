"""What is said of a folder that cannot be read: what was found, and what is needed."""

import re

import pytest

from mmgen_jax import config as configs
from mmgen_jax.data.folder.source import FOLDER
from mmgen_jax.errors import InputError
from tests.folders import group, options, paint, write

MANY = 300


def refusal(path, **keys):
    with pytest.raises(InputError) as error:
        FOLDER.describe(options(path, **keys))
    assert "\n" not in str(error.value)
    return str(error.value)


def files(path, *names):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(("png", "jpg")):
            paint(path / name, size=(1, 1))
        else:
            (path / name).write_text("x", encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ["is empty", '{"file_name": "a.jpg", "text": "a red apple"}']),
        (["metadata.csv", "1.png"], ["it has metadata.csv", "a JSON object for each of its rows"]),
        (["train/metadata.csv", "train/1.png"], ["it has train/metadata.csv"]),
        (["metadata.parquet", "1.png"], ["it has metadata.parquet"]),
        (["captions.jsonl", "1.png"], ["it has captions.jsonl", "rename"]),
        (["Metadata.JSONL"], ["it has Metadata.JSONL", "rename"]),
        (["data/train/metadata.jsonl"], ["it has data/train/metadata.jsonl", "path=", "/data"]),
        (["cat/1.png", "dog/2.jpg"], ["a folder for each class (cat, dog)",
                                      '{"file_name": "cat/1.png", "label": "cat"}']),
        (["train/cat/1.png", "test/dog/2.jpg"], ["(test/dog, train/cat)", "in each split, as test",
                                                 '{"file_name": "dog/2.jpg", "label": "dog"}']),
        (["train/1.png", "test/2.jpg"], ["test, train hold pictures", '{"file_name": "2.jpg", "t']),
        (["1.png", "2.jpg"], ["pictures without metadata", '{"file_name": "1.png", "text": ']),
        (["1.png", "1.txt", "2.png", "2.txt"], ["a text beside each", '{"file_name": "1.png"']),
        (["00.tar", "01.tar"], ["it has 00.tar, 01.tar", "unpack"]),
        (["data/train-00000.parquet"], ["it has data/train-00000.parquet"]),
        (["dataset_info.json"], ["TFDS", "--config.data.name=tfds"]),
        (["1.0.0/dataset_info.json"], ["TFDS", "--config.data.name=tfds"]),
        (["notes.md"], ["it holds notes.md"]),
        ([".hidden/1.png", "._1.png"], ["it holds nothing but hidden files"]),
    ],
)  # fmt: skip
def test_what_was_found_is_said(tmp_path, names, words):
    root = tmp_path / "set"
    root.mkdir()
    files(root, *names)
    said = refusal(root)
    assert said.startswith(f"{root} has no metadata.jsonl")
    for word in words:
        assert word in said, said


def test_a_folder_that_is_not_there_is_another_matter(tmp_path):
    files(tmp_path, "pictures/1.png")
    said = refusal(tmp_path / "picture")
    assert said == f"folder {tmp_path / 'picture'} is not there; near it is: pictures"
    said = refusal(tmp_path / "no" / "where")
    assert said == f"folder {tmp_path / 'no' / 'where'} is not there, nor is {tmp_path / 'no'}"
    assert refusal("~nobody-of-that-name/x").startswith("path '~nobody")


def test_a_file_is_no_folder(tmp_path):
    files(tmp_path, "set.zip", "metadata.jsonl")
    assert "set.zip is a file; allowed: a folder" in refusal(tmp_path / "set.zip")
    said = refusal(tmp_path / "metadata.jsonl")
    assert f"metadata.jsonl is a file; its folder is meant: --config.data.path={tmp_path}" in said
    files(tmp_path / "my pictures", "metadata.jsonl")
    said = refusal(tmp_path / "my pictures" / "metadata.jsonl")
    assert f"--config.data.path='{tmp_path}/my pictures'" in said  # as a shell takes it


def test_a_big_folder_does_not_make_a_long_line(tmp_path):
    files(tmp_path, *(f"class {i}/{i}.png" for i in range(MANY)))
    assert len(refusal(tmp_path)) < 700


@pytest.mark.parametrize(
    ("lines", "names", "words"),
    [
        ([{"caption": "x"}], "text", ["it has: none", "the key 'text', but: caption, file_name",
                                      "type --config.data.features.text=caption"]),
        ([{"prompt": "x", "id": 7}], "text", ["features.text=prompt"]),
        ([{"Text": "x"}], "text", ["features.text=Text"]),
        ([{"en_caption": ["x"]}], "text", ["features.text=en_caption"]),
        ([{"remark": "x"}], "text", ["features.text=remark"]),
        ([{"foo": "x", "bar": "y"}], "text", ["features.text=KEY"]),
        ([{}], "text", ["but: file_name"]),
        ([{"text": "x", "category": "y"}], "text,label",
         ["it has: text;", "features.label=category", "or leave it out: modalities=text"]),
        ([{"class": 3}], "label", ["features.label=class"]),
        ([{"label": True, "file_name": "a.png"}], "label",
         ["no value of its key 'label' is a name or a whole number"]),
        ([{"sound": "a.wav", "text": "b"}], "audio", ["features.audio=sound"]),
        ([{"x": "b", "y": "a.WAV"}], "audio", ["features.audio=y"]),
        ([{"mask": "a.png"}], "image", ["features.image=mask"]),
    ],
)  # fmt: skip
def test_a_modality_under_another_key_is_named_with_the_flag(folder, lines, names, words):
    write(folder, *({"file_name": "a.png"} | line for line in lines))
    config = configs.default()
    config.data = group(folder)
    config.modalities.names = tuple(names.split(","))
    with pytest.raises(InputError) as error:
        configs.validate(config)
    said = str(error.value)
    assert re.match("data set 'folder' has no modality '", said) and "\n" not in said
    for word in words:
        assert word in said, said


def test_a_target_under_another_key_is_named_with_the_flag(folder):
    write(folder, {"image": "a.png", "caption": "x"})
    said = refusal(folder)
    assert said.endswith("allowed: caption, image; type --config.data.target=image")
