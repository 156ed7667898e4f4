"""A folder appears whole or not at all."""

import pytest

from mmgen_jax.data.builders.staging import SUMMARY, staged
from mmgen_jax.errors import InputError


def make(out, text, overwrite=False):
    with staged(out, overwrite) as folder:
        (folder / SUMMARY).write_text(text, encoding="utf-8")


def test_the_folder_appears_at_the_end_only(tmp_path):
    out = tmp_path / "parent" / "out"
    with staged(out, overwrite=False) as folder:
        (folder / SUMMARY).write_text("new", encoding="utf-8")
        assert not out.exists()
    assert (out / SUMMARY).read_text(encoding="utf-8") == "new"
    assert list(out.parent.iterdir()) == [out]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "out", overwrite=False) as folder:
        (folder / SUMMARY).write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_to_be_overwritten(tmp_path):
    make(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "out", overwrite=True):
        raise KeyboardInterrupt
    assert (tmp_path / "out" / SUMMARY).read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_overwriting_must_be_asked_for(tmp_path):
    out = tmp_path / "out"
    make(out, "old")
    with pytest.raises(InputError, match="--overwrite"):
        make(out, "new")
    assert (out / SUMMARY).read_text(encoding="utf-8") == "old"
    make(out, "new", overwrite=True)
    assert (out / SUMMARY).read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [out]


def test_what_no_builder_made_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match="holds something else"):
        make(tmp_path, "new", overwrite=True)
    with pytest.raises(InputError, match="holds something else"):
        make(tmp_path / "thesis.tex", "new", overwrite=True)


def test_an_empty_folder_is_taken(tmp_path):
    make(tmp_path, "new")
    assert (tmp_path / SUMMARY).read_text(encoding="utf-8") == "new"
