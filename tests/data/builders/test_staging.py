"""A folder appears whole or not at all."""

import pytest

from mmgen_jax.data.builders.staging import FILES, SUMMARY, staged
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
    with pytest.raises(InputError, match="is no folder"):
        make(tmp_path / "thesis.tex", "new", overwrite=True)


def test_a_folder_with_a_summary_of_other_origin_is_never_deleted(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / SUMMARY).write_text("my summary", encoding="utf-8")
    (out / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match=f"no {FILES}"):
        make(out, "new", overwrite=True)
    assert (out / "thesis.tex").read_text(encoding="utf-8") == "years of work"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("change", ["added", "below", "edited", "linked"])
def test_what_came_to_a_data_set_is_never_deleted(tmp_path, change, late):
    """Neither what was there at the start, nor what came while the new one was made."""
    out = tmp_path / "out"
    make(out, "old")

    def alter():
        if change == "linked":
            (out / "link").symlink_to(tmp_path)
        elif change == "below":
            (out / "more").mkdir()
            (out / "more" / "notes.txt").write_text("mine", encoding="utf-8")
        else:
            name = SUMMARY if change == "edited" else "notes.txt"
            (out / name).write_text("mine", encoding="utf-8")

    if not late:
        alter()
    with pytest.raises(InputError, match="move it away first"), staged(out, True) as folder:
        (folder / SUMMARY).write_text("new", encoding="utf-8")
        alter()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    text = "mine" if change == "edited" else "old"
    assert (out / SUMMARY).read_text(encoding="utf-8") == text


def test_a_data_set_is_not_built_into_a_run(tmp_path):
    run = tmp_path / "run"
    (run / "assets").mkdir(parents=True)
    (run / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="run's own files"):
        make(run / "assets" / "data", "new")


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_empty_folder_is_taken(tmp_path, overwrite):
    make(tmp_path, "new", overwrite)
    assert (tmp_path / SUMMARY).read_text(encoding="utf-8") == "new"
