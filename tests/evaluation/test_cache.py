"""What is kept until a report is written."""

import numpy as np
import pytest

from mmgen_jax.evaluation.cache import Memo, digest


class Counting:
    """Makes two arrays, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return [np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([0.5, np.inf], np.float32)]


def test_what_is_kept_is_not_made_again(tmp_path):
    compute, folder = Counting(), tmp_path / "report.parts"
    for _ in range(2):
        found = Memo(folder)(lambda: ("a", np.zeros(3)), compute)
        for kept, made in zip(found, Counting()(), strict=True):
            np.testing.assert_array_equal(kept, made)
            assert kept.dtype == made.dtype
    assert compute.calls == 1
    Memo(folder)(lambda: ("b", np.zeros(3)), compute)
    assert compute.calls == 2
    (folder / "notes.txt").write_text("somebody's own", encoding="utf-8")
    Memo(folder).clear()
    (folder / f".{'0' * 64}.npz.{'0' * 16}.partial").write_bytes(b"of a killed command")
    (folder / f"{'0' * 64}.npz.tmp").write_bytes(b"somebody's own")
    Memo(folder).clear()
    assert {path.name for path in folder.iterdir()} == {"notes.txt", f"{'0' * 64}.npz.tmp"}
    (folder / f"{'0' * 64}.npz.tmp").unlink()
    (folder / "notes.txt").unlink()
    Memo(folder).clear()
    assert not folder.exists()
    Memo(folder).clear()


@pytest.mark.parametrize("left", [0, 30, -1])
def test_a_file_that_is_not_whole_is_made_again(tmp_path, left):
    compute = Counting()
    Memo(tmp_path)(lambda: "a", compute)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:left])
    Memo(tmp_path)(lambda: "a", compute)
    Memo(tmp_path)(lambda: "a", compute)
    assert compute.calls == 2


def test_without_a_folder_nothing_is_kept():
    compute = Counting()
    for _ in range(2):
        Memo()(lambda: pytest.fail("the facts are not needed"), compute)
    assert compute.calls == 2


def test_facts_differ_by_value_type_shape_and_place():
    facts = [
        *({"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1}, "12", ("1", "2"), ("12", "")),
        *(np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.array([0, 0, 0, 1.0])),
    ]
    assert len({digest(fact) for fact in facts}) == len(facts)
    assert digest({"b": np.ones(2), "a": "x"}) == digest({"a": "x", "b": np.ones(2)})


def test_no_flipped_bit_is_believed(tmp_path):
    compute = Counting()
    Memo(tmp_path)(lambda: "a", compute)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for bit in range(0, 8 * len(whole), 97):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        before = compute.calls
        found = Memo(tmp_path)(lambda: "a", compute)
        assert compute.calls == before + 1
        np.testing.assert_array_equal(found[0], compute()[0])
        compute.calls = before + 1
