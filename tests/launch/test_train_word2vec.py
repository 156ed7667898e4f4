"""Word vectors from a data set's captions."""

from mmgen_jax.modalities.embeddings.vector_files import read_vectors
from tests import folders
from tests.launching import assert_bad_input, launch

RECIPE = "--config=configs/flow.py:data=folder,modalities=text"


def test_words_that_stand_in_like_places_are_near(tmp_path):
    """Animals are stroked, vehicles driven: each is nearer to its kind than to the other."""
    animals, vehicles, lines = ("cat", "dog", "cow"), ("car", "bus", "van"), []
    for k in range(600):
        word = (animals, vehicles)[k % 2][k // 2 % 3]
        said = f"i stroke the {word} with fur" if k % 2 == 0 else f"we drive a {word} on wheels"
        lines.append({"file_name": f"{k}.png", "text": said})
        folders.paint(tmp_path / f"{k}.png", colour=[k % 250, k // 250, 1])
    folders.write(tmp_path, *lines)
    out = [tmp_path / name for name in ("words.txt", "again.txt", "words.bin")]
    flags = (RECIPE, f"--config.data.path={tmp_path}", "--dimensions=16", "--epochs=30")
    for path in out:
        done = launch("launch/train_word2vec.py", *flags, f"--out={path}")
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1].startswith(f"{path}: ")
        assert "nearest to" in done.out
    assert out[0].read_bytes() == out[1].read_bytes()
    rows, vectors, *_ = read_vectors(str(out[2]), header=True)
    unit = {w: vectors[rows[w]] / (vectors[rows[w]] ** 2).sum() ** 0.5 for w in animals + vehicles}
    for kind, other in ((animals, vehicles), (vehicles, animals)):
        for word in kind:
            own = min(unit[word] @ unit[near] for near in kind)
            assert own > max(unit[word] @ unit[far] for far in other)


def test_bad_input(tmp_path):
    done = launch("launch/train_word2vec.py", RECIPE, "--out=words.csv")
    assert_bad_input(done, "--out=words.csv", ".txt or .bin")
