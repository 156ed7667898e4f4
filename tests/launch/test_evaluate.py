"""The evaluating and the comparing launcher."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from mmgen_jax.evaluation import run_sampler
from mmgen_jax.sampling import sampler
from tests import folders
from tests.launching import assert_bad_input, launch

EVALUATE = "launch/evaluate.py"

pytestmark = pytest.mark.usefixtures("loaded_once")


def test_a_report_of_every_subset(trained, tmp_path):
    out = tmp_path / "report.json"
    done = launch(EVALUATE, f"--workdir={trained}", "--count=4", f"--out={out}", "--seed=1")
    assert (done.code, done.err) == (0, ""), done
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["step"] == 2 and report["seed"] == 1
    rows = report["satisfaction"]
    assert len(rows) == 2 * 15  # subsets of four modalities, of unseen and of held-out scenes
    assert {"rate", "count", "chance", "interval"} <= rows["text+label+audio+image"].keys()
    assert np.asarray(Image.open(tmp_path / "report.png")).shape[2] == 3
    assert "heldout:text" in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.png"]


def test_an_interrupted_evaluation_goes_on_and_says_the_same(trained, tmp_path, monkeypatch):
    """Stopped in the third part: the two before it are not drawn again."""
    monkeypatch.setattr(run_sampler, "BATCH", 4)
    drawn, sample, stop = [], sampler.Sampler.__call__, [None]

    def counted(self, *inputs, **options):
        drawn.append(options["first"])
        if len(drawn) == stop[0]:
            raise KeyboardInterrupt
        return sample(self, *inputs, **options)

    monkeypatch.setattr(sampler.Sampler, "__call__", counted)
    flags = (f"--workdir={trained}", "--count=10", "--given=text,label+audio")
    reports = []
    for name, stops in (("whole", (None,)), ("torn", (3, None))):
        out = tmp_path / f"{name}.json"
        for place in stops:
            drawn.clear()
            stop[0] = place
            if place:
                assert launch(EVALUATE, *flags, f"--out={out}").code == 143
                assert not out.exists() and out.with_suffix(".parts").is_dir()
            else:
                assert launch(EVALUATE, *flags, f"--out={out}").code == 0
        reports.append(
            (out.read_text(encoding="utf-8"), out.with_suffix(".png").read_bytes(), len(drawn))
        )
        assert not out.with_suffix(".parts").exists()
    # Three parts, two subsets, two splits.
    assert reports[0][2] == 12 and reports[1][2] == 10
    assert reports[0][:2] == reports[1][:2]


def test_all_checkpoints_make_curves(trained, tmp_path):
    out = tmp_path / "report.json"
    flags = ("--all-checkpoints", "--given=text", "--count=4", f"--out={out}")
    done = launch(EVALUATE, f"--workdir={trained}", *flags)
    assert (done.code, done.err) == (0, ""), done
    report = json.loads(out.read_text(encoding="utf-8"))
    assert list(report["checkpoints"]) == ["1", "2"] and report["step"] == 2
    assert report["checkpoints"]["2"]["satisfaction"] == report["satisfaction"]
    assert "checkpoint 1" in done.out


def test_folders_of_pictures(tmp_path):
    """Their own classifier is the extractor; a picture of another size is resized by it."""
    import jax
    import jax.numpy as jnp

    from mmgen_jax.evaluation.judges import classifier

    params = classifier.Classifier(3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), None)
    judge = classifier.Trained(params["params"], ("a", "b", "c"), 8, 0.5)
    classifier.save(judge, tmp_path / "judge.safetensors")
    for name in ("drawn", "real"):
        for number in range(14):
            folders.paint(tmp_path / name / f"{number}.png", size=(8 + number % 2, 8))
    flags = (
        *(f"--images={tmp_path / 'drawn'}", f"--reference={tmp_path / 'real'}"),
        *("--extractor=classifier", f"--weights={tmp_path / 'judge.safetensors'}"),
        *(f"--references={tmp_path / 'kept'}", "--metrics=kid,is,prdc"),
    )
    done = launch(EVALUATE, *flags, f"--out={tmp_path / 'report.json'}")
    assert (done.code, done.err) == (0, ""), done
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [key for key in report if key not in ("images", "made_by")] == [
        *("kd(classifier judge)", "cs(classifier judge)", "prdc(classifier judge)")
    ]
    assert report["prdc(classifier judge)"]["drawn"]["count"] == 14
    assert "FID" not in done.out and "KD(classifier judge)" in done.out
    done = launch(EVALUATE, *flags, "--metrics=fid", f"--out={tmp_path / 'fid.json'}")
    assert_bad_input(done, "14 pictures", "at least 129", "128 features")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--metrics=beauty",), ("'beauty'", "satisfaction, fitting")),
        (("--metrics=reconstruction",), ("'reconstruction'", "'flow'")),
        (("--metrics=fid",), ("'shapes'", "not judged by a classifier")),
        (("--metrics=fid", "--weights=inception.safetensors"), ("inception.safetensors",)),
        (("--metrics=kid", "--extractor=eye"), ("'eye'", "inception, classifier")),
        (("--out=report.txt",), ("--out=report.txt", ".json")),
        (("--workdir=nowhere",), ("nowhere", "no run")),
        (("--images=.",), ("--workdir or --images", "not both")),
        (("--all_checkpoints", "--step=2"), ("--all_checkpoints", "--step")),
        (("--given=text+depth",), ("--given", "'depth'", "text, label, audio, image")),
        (("--reference=photos",), ("--reference", "--images")),
    ],
)
def test_bad_input(trained, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    tensors = {"fc.weight": np.zeros((3, 4), np.float32)}
    safetensors.numpy.save_file(tensors, tmp_path / "inception.safetensors")
    done = launch(EVALUATE, f"--workdir={trained}", "--out=report.json", *flags)
    if "--weights=inception.safetensors" in flags:  # each missing array has a line of its own
        assert done.code == 2 and "error: inception.safetensors" in done.err.splitlines()[-1]
    else:
        assert_bad_input(done, *words)
    assert not (tmp_path / "report.json").exists()


def test_a_run_that_draws_no_numbers_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(sampler, "quantise", lambda images: pytest.fail("it is no number"))
    monkeypatch.setattr("jax.device_get", lambda x: np.full(x.shape, np.nan))
    done = launch(EVALUATE, f"--workdir={trained}", f"--out={tmp_path / 'report.json'}")
    assert done.code == 2 and "NaN" in done.err and "--step" in done.err


@pytest.mark.slow
def test_runs_side_by_side(trained, tmp_path):
    other, out = tmp_path / "other", tmp_path / "compare.json"
    shutil.copytree(trained, other)
    flags = ("--count=2", f"--out={out}", f"--workdirs={trained},{other}")
    done = launch("launch/compare.py", *flags)
    assert (done.code, done.err) == (0, ""), done
    runs = json.loads(out.read_text(encoding="utf-8"))["runs"]
    assert list(runs) == [trained.name, "other"]
    assert runs["other"] == runs[trained.name] and runs["other"]["family"] == "flow"
    assert f"text+label: {trained.name}" in done.out and "text+label: other" in done.out
    assert out.with_suffix(".png").exists()
    done = launch("launch/compare.py", *flags, "--metrics=fid")
    assert done.code == 2 and "'shapes' is not judged by a classifier" in done.err


def test_runs_that_cannot_stand_side_by_side(trained, tmp_path):
    out = f"--out={tmp_path / 'compare.json'}"
    done = launch("launch/compare.py", f"--workdirs={trained},{trained}", out)
    assert_bad_input(done, "--workdirs", "one name")
