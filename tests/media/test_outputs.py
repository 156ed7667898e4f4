"""Nothing is overwritten that a command did not make itself."""

import os

import numpy as np
import pytest
import safetensors.numpy

from mmgen_jax.errors import InputError
from mmgen_jax.media import gallery, outputs
from mmgen_jax.media.outputs import KEY, Output
from mmgen_jax.storage import read_text, write_json
from tests.launching import ROOT, assert_bad_input, launch, path_of

CONFIG = "--config=configs/flow.py:size=tiny"
# Launcher -> what it is given besides --out, and the files that it writes for X.
WRITERS = {
    "sample": (("--workdir=nowhere",), ("X.png",)),
    "latents": (("--workdir=nowhere",), ("X.png",)),
    "inspect_data": ((CONFIG,), ("X.png",)),
    "evaluate": (("--workdir=nowhere",), ("X.json", "X.png")),
    "compare": (("--workdirs=nowhere",), ("X.json", "X.png")),
    "benchmark": ((CONFIG, "--analytic"), ("X.json", "X.md", "X.png")),
    "benchmark_all": ((), ("X.md", "X.png")),
    "compile": ((CONFIG, "--topology=v5e:4x4"), ("X.json", "X.md", "X.png")),
    "scaling": ((), ("X.md", "X.png")),
    "quality": (("--data=shapes,emoji",), ("X.md", "X-shapes.png", "X-emoji.png")),
    "train_judge": ((CONFIG,), ("X.safetensors",)),
    "train_word2vec": ((CONFIG,), ("X.txt",)),
}
CASES = [(name, file) for name, (_, files) in WRITERS.items() for file in files]


def started(name, folder, *more):
    flags, files = WRITERS[name]
    return launch(path_of(name), *flags, f"--out={folder / files[0]}", *more)


@pytest.mark.parametrize(("name", "file"), CASES)
def test_a_file_of_other_origin_is_not_overwritten(tmp_path, name, file):
    (tmp_path / file).write_text("years of work", encoding="utf-8")
    assert_bad_input(started(name, tmp_path), f"{tmp_path / file} exists", "--overwrite")
    assert (tmp_path / file).read_text(encoding="utf-8") == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("name", WRITERS)
def test_a_name_that_no_disk_takes_is_refused_before_any_work(name):
    flags, (file, *_) = WRITERS[name]
    done = launch(path_of(name), *flags, f"--out={file.replace('X', 250 * 'x')}")
    assert_bad_input(done, "--out=", "too long", "240 bytes")


@pytest.mark.parametrize("script", ["benchmark_all", "scaling", "quality"])
def test_nor_does_a_folder_have_such_a_name(tmp_path, script):
    done = launch(path_of(script), f"--out={tmp_path}/X.md", f"--workdir={300 * 'x'}")
    assert_bad_input(done, "--workdir=", "too long")


def test_an_empty_name_is_no_file(tmp_path):
    assert_bad_input(launch("tools/scaling.py", "--out="), "--out=", "is no .md file")


def test_a_table_is_of_data_sets_that_there_are(tmp_path):
    out = f"--out={tmp_path}/X.md"
    assert_bad_input(launch("tools/quality.py", out, "--data=../x"), "--data: '../x'", "shapes")


def test_every_launcher_that_writes_is_listed():
    """Whatever defines --out by the helper is in the table above."""
    found = {
        path.stem
        for folder in ("launch", "tools")
        for path in (ROOT / folder).glob("*.py")
        if "cli.define_out(" in path.read_text(encoding="utf-8")
    }
    assert found == set(WRITERS)


@pytest.fixture(params=[".png", ".json", ".md", ".safetensors"])
def made(request, tmp_path):
    """(a file as a command writes it, what made it)."""
    output = Output(tmp_path / f"made{request.param}", "mmgen_jax sample")
    if request.param == ".png":
        gallery.save_png(output.path, np.zeros((4, 4, 3), np.uint8), output.software)
    elif request.param == ".json":
        write_json(output.path, output.marked({"rate": 0.5}))
    elif request.param == ".md":
        output.write_markdown("# Table\n")
    else:
        arrays = {"x": np.zeros(3, np.float32)}
        safetensors.numpy.save_file(arrays, output.path, {KEY: output.software})
    return output


def test_a_command_replaces_its_own_and_nobody_elses(made):
    outputs.check("--out", [made], overwrite=False)
    other = Output(made.path, "mmgen_jax latents")
    with pytest.raises(InputError, match=r"exists, and mmgen_jax latents did not make it"):
        outputs.check("--out", [other], overwrite=False)
    outputs.check("--out", [other], overwrite=True)
    content = made.path.read_bytes()
    made.path.write_bytes(b"?" + content)  # broken: whose it was is not known
    with pytest.raises(InputError, match="--overwrite"):
        outputs.check("--out", [made], overwrite=False)


def test_word_vectors_carry_no_mark_and_are_never_replaced_unasked(tmp_path):
    (tmp_path / "X.txt").write_text("1 2\na 0.5 0.5\n", encoding="utf-8")
    assert_bad_input(started("train_word2vec", tmp_path), "X.txt", "--overwrite")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["config.json", "assets/x.json", "samples/1.json", "notes.json"])
def test_a_runs_own_files_are_never_an_output(tmp_path, name, overwrite):
    run = tmp_path / "run"
    for part in ("assets", "checkpoints", "samples"):
        (run / part).mkdir(parents=True)
    for file in ("config.json", "notes.json"):
        (run / file).write_text("{}", encoding="utf-8")
    flags = ("--overwrite",) if overwrite else ()
    done = launch("launch/evaluate.py", f"--workdir={run}", f"--out={run / name}", *flags)
    assert_bad_input(done, str(run / name), "run")
    assert (run / "config.json").read_text(encoding="utf-8") == "{}"
    assert (run / "notes.json").read_text(encoding="utf-8") == "{}"
    outputs.check("--out", [Output(run / "report.json", "mmgen_jax evaluate")], overwrite=False)


def test_through_a_link_a_runs_files_are_known_too(tmp_path):
    (tmp_path / "run" / "assets").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with pytest.raises(InputError, match="run's own files"):
        outputs.check("--out", [Output(tmp_path / "link" / "config.json", "x")], overwrite=True)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path, kind):
    path = tmp_path / "X.png"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    assert_bad_input(started("sample", tmp_path, "--overwrite"), f"a {kind}, not a file")


def test_the_parts_of_an_evaluation_need_a_folder(tmp_path):
    (tmp_path / "X.parts").write_text("mine", encoding="utf-8")
    assert_bad_input(started("evaluate", tmp_path), "X.parts", "no folder")


@pytest.mark.parametrize(
    ("name", "kind"), [("samples", "file"), ("checkpoints", "file"), ("metrics.jsonl", "pipe")]
)
def test_a_workdir_in_which_something_is_in_the_way(tmp_path, name, kind):
    path = tmp_path / name
    os.mkfifo(path) if kind == "pipe" else path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=f"{name} must be a"):
        outputs.check_workdir(tmp_path)
    path.unlink()
    outputs.check_workdir(tmp_path)


def test_a_markdown_file_begins_with_its_mark(tmp_path):
    output = Output(tmp_path / "table.md", "mmgen_jax scaling")
    output.write_markdown("# Table\n")
    assert read_text(output.path) == "<!-- mmgen_jax scaling -->\n# Table\n"
