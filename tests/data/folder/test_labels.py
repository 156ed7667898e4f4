"""Which classes a folder has, and which class a label is: names, numbers, and labels.txt."""

import unicodedata

import pytest

from mmgen_jax.data.folder.source import FOLDER
from mmgen_jax.errors import InputError
from tests.folders import open_folder, open_rest, options, paint, write

NFD = unicodedata.normalize("NFD", "Café")


def opened(path, labels, names=None):
    """A folder with a picture for each label, opened without its bad records."""
    for i in range(len(labels)):
        paint(path / f"{i}.png")
    write(path, *({"file_name": f"{i}.png", "label": x} for i, x in enumerate(labels)))
    if names is not None:
        (path / "labels.txt").write_text("\n".join(names), encoding="utf-8")
    return open_rest(path)


def values(source):
    return [record.values.get("label") for record in source]


TWELVE = [str(i) for i in range(1, 13)]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["b", "a", "b", None], ("a", "b"), ["b", "a", "b", None]),
        ([2, 0, None], ("0", "2"), ["2", "0", None]),
        ([0.0, 1.0, None], ("0", "1"), ["0", "1", None]),
        ([5, 900], ("5", "900"), ["5", "900"]),
        ([10, 9, 10**9], ("9", "10", "1000000000"), ["10", "9", "1000000000"]),
        ([0, 1, 1, "1"], ("0", "1"), ["0", "1", "1", "1"]),
        (["0", 1, "02"], ("0", "02"), ["0", "02"]),
        ([*TWELVE, *range(1, 13)], tuple(TWELVE), [*TWELVE, *TWELVE]),
        (["cat", "7", 7], ("7", "cat"), ["cat", "7", "7"]),
        ([["b", "c"], "a"], ("a", "b", "c"), [("b", "c"), "a"]),
        ([{"en": "cat", "de": "Katze"}], ("Katze", "cat"), [("cat", "Katze")]),
        (["Café", NFD, "cat", "cat ", " cat"], ("Café", "cat"), ["Café"] * 2 + ["cat"] * 3),
        (["Cat", "cat"], ("Cat", "cat"), ["Cat", "cat"]),
    ],
)
def test_without_labels_txt_the_classes_are_those_that_occur(tmp_path, labels, names, expected):
    source = opened(tmp_path, labels)
    assert source.info.label_names == names
    assert values(source) == expected


@pytest.mark.parametrize(
    ("labels", "names", "reason"),
    [
        (["b", "a", "b", 0], ("a", "b"), "label 0 is a number, and no class has that name; allow"),
        ([0, 1, 1, "cat"], ("0", "1"), "label 'cat' is no class; allowed: 0, 1"),
        ([2, 0, -1], ("0", "2"), "label -1 is a number, and no class has that name; allowed: 0, 2"),
        (["01", "02", 1], ("01", "02"), "label 1 is a number, and no class has that name"),
        (["a", True], ("a",), "label True is no class; allowed: a"),
        (["None", float("nan")], ("None",), "label nan is no class; allowed: None"),
        (["None", [["None"]]], ("None",), "label ['None'] is no class; allowed: None"),
        (["a", ""], ("a",), "label '' is no class; allowed: a"),
        (["apple", "pear", 0.5], ("apple", "pear"), "label 0.5 is no class"),
    ],
)
def test_a_label_of_the_other_kind_is_refused_by_name(tmp_path, labels, names, reason):
    source = opened(tmp_path, labels)
    assert source.info.label_names == names
    (bad,) = source.bad
    assert bad.reason.startswith(reason)
    assert len(source) == len(labels) - 1


def test_with_labels_txt_a_number_is_a_position(tmp_path):
    source = opened(tmp_path, ["a", 0, 2.0, " c "], ["b", "a", "c"])
    assert source.info.label_names == ("b", "a", "c")
    assert values(source) == ["a", "b", "c", "c"]


def test_a_labels_txt_in_a_split_is_not_passed_over(tmp_path):
    opened(tmp_path / "train", [0, 1])
    (tmp_path / "train" / "labels.txt").write_text("cat\ndog\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"^{tmp_path}/train/labels.txt is not read; allowed: "):
        FOLDER.describe(options(tmp_path))
    (tmp_path / "train" / "labels.txt").rename(tmp_path / "labels.txt")
    assert FOLDER.describe(options(tmp_path)).label_names == ("cat", "dog")


@pytest.mark.parametrize("names", [["0", "1", "2"], ["zero", "1", "two"]])
def test_names_that_are_their_own_positions_are_both(tmp_path, names):
    assert values(opened(tmp_path, [1, "1", 2], names)) == ["1", "1", names[2]]


def test_where_labels_txt_has_numerals_a_number_is_the_class_of_that_name(tmp_path):
    source = opened(tmp_path, [1, 12, 0], TWELVE)
    assert values(source) == ["1", "12"]
    (bad,) = source.bad
    assert bad.reason.startswith("label 0 is a number, and no class has that name; allowed: 1, 2")


@pytest.mark.parametrize("text", ["b\na\nc", "b\r\na\r\nc\r\n\r\n", "\ufeffb\n a \nc\n"])
def test_labels_txt_says_which_classes_there_are(folder, text):
    write(
        folder,
        *({"file_name": f"{n}.png", "label": v} for n, v in zip("abc", ["a", 0, 2], strict=True)),
    )
    (folder / "labels.txt").write_text(text, "utf-8", newline="")
    source = open_folder(folder)
    assert source.info.label_names == ("b", "a", "c")
    assert [record.values["label"] for record in source] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb\na\n", "line 3: 'a' stands in line 1 already; allowed: one name a line, each"),
        (b"cat\nb\ncat \n", "line 3: 'cat' stands in line 1 already"),
        ("Café\nb\nCafe\u0301".encode(), "line 3: 'Café' stands in line 1 already"),
        (b"a\n\nb\n", "line 2 is empty; allowed: one name a line"),
        (b"", "line 1 is empty; allowed: one name a line"),
        (b"\xff\xfea\0", "cannot read .*labels.txt: .*utf-8"),
    ],
)
def test_a_labels_txt_that_cannot_be_is_refused(folder, content, words):
    write(folder, {"file_name": "a.png", "label": "a"})
    (folder / "labels.txt").write_bytes(content)
    with pytest.raises(InputError, match=f"labels.txt.*{words}|{words}"):
        FOLDER.describe(options(folder))
