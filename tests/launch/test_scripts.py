"""The scripts that start training on pods, clusters and several processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.launching import ROOT

FLAGS = ("--config=configs/flow.py:data=shapes,modalities=text+label", "--workdir=/shared/runs/a b")
POD = ("--name=pod", "--zone=z")
TRAIN = r"launch/train.py --config=configs/flow.py:data=shapes\,modalities=text+label"


def run(script, *arguments, **environment):
    command = ["bash", str(ROOT / "launch" / script), *arguments]
    environment = os.environ | {"PYTHON": sys.executable} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_pod_is_made_and_every_worker_is_given_its_command():
    options = ("--name=pod", "--zone=us-west4-a", "--workers=2", "--type=v5litepod-8")
    more = (
        "--version=v2-alpha-tpuv5-lite",
        "--spot",
        "--project=own",
        "--setup=sudo mount /shared/runs",
    )
    done = run("tpu_pod.sh", "--dry-run", *options, *more, "--", *FLAGS)
    assert (done.returncode, done.stderr) == (0, "")
    where = "--zone=us-west4-a --project=own"
    vm = "gcloud compute tpus tpu-vm"
    create, *lines = done.stdout.splitlines()
    assert create.split() == [
        *f"{vm} create pod {where} --accelerator-type=v5litepod-8".split(),
        *("--version=v2-alpha-tpuv5-lite", "--spot"),
    ]
    for worker in (0, 1):
        own = [line for line in lines if line.startswith(f"[{worker}] ")]
        assert all(
            line.startswith(f"[{worker}] {vm} ssh pod {where} --worker={worker} ") for line in own
        )
        folder, install, train = (line.partition("--command=")[2] for line in own)
        assert folder.startswith(r"sudo\ mount\ /shared/runs\ \&\&\ mkdir")
        assert "pip" in install and "[tpu" in install
        # Quoted for two shells: this one, and the worker's.
        said = subprocess.run(
            ["bash", "-c", f"printf %s {train}"], capture_output=True, text=True, check=True
        ).stdout
        assert said.startswith("cd mmgen_jax && exec flock --nonblock ")
        assert ".lock .venv/bin/python " + TRAIN in said
        assert said.endswith(r"--workdir=/shared/runs/a\ b")
    assert any(line.startswith(f"{vm} scp --recurse") for line in lines)


def test_workers_can_measure_instead_of_train():
    pod = ("--name=pod", "--zone=z", "--workers=1", "--launcher=benchmark.py", "--dry-run")
    for done in (
        run("tpu_pod.sh", *pod, "--", *FLAGS),
        run("tpu_pod.sh", "--launcher=benchmark.py", "--local=1", "--dry-run", "--", *FLAGS),
        run("slurm.sbatch", "--dry-run", *FLAGS, SLURM_NTASKS="1", LAUNCHER="benchmark.py"),
    ):
        assert (done.returncode, done.stderr) == (0, "")
        assert "launch/benchmark.py" in done.stdout and "train.py" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--launcher=sample.py", "--local=2", "--", *FLAGS), "--launcher=sample.py; allowed"),
        (("--pod",), "--pod is no option"),
        (("--name=pod", "--zone=z", "--workers=2"), "nothing after --"),
        (("--name=pod", "--", *FLAGS), "--name and --zone must be given, or --local=N"),
        (("--name=pod", "--zone=z", "--", *FLAGS), "--workers=; allowed"),
        (("--name=pod", "--zone=z", "--workers=2", "--type=t", "--", *FLAGS), "go together"),
        *(
            (
                (*POD, f"--workers={many}", "--", *FLAGS),
                f"--workers={many}; all",
            )
            for many in ("1e20", "100000000000000000000", "10000", "-1", "08")
        ),
        *(
            (
                (*POD, "--workers=1", f"--restarts={many}", "--", *FLAGS),
                "--restarts",
            )
            for many in ("99999999999999999999", "09", "-1")
        ),
        (("--local=100000000000000000000", "--", *FLAGS), "allowed: 1 to 999"),
        (("--local=0", "--", *FLAGS), "0 where the number of processes is expected"),
    ],
)
def test_what_is_wrong_with_a_pod_is_one_line(arguments, words):
    done = run("tpu_pod.sh", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("count", ["1e20", "100000000000000000000", "x[$(touch never)]"])
def test_a_cluster_of_no_number_of_processes_is_refused(tmp_path, count):
    done = run("slurm.sbatch", "--dry-run", *FLAGS, SLURM_NTASKS=count)
    assert (done.returncode, done.stdout) == (2, "")
    assert "SLURM_NTASKS" in done.stderr and done.stderr.count("\n") == 1
    assert not (ROOT / "never").exists()


def test_every_process_of_a_cluster_is_given_its_command():
    done = run("slurm.sbatch", "--dry-run", *FLAGS, SLURM_NTASKS="3")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for node, line in enumerate(lines):
        assert line.startswith(
            f"[{node}] srun --kill-on-bad-exit=0 --cpus-per-task=8 {sys.executable} "
        )
        assert TRAIN in line and r"--workdir=/shared/runs/a\ b" in line
    empty = run("slurm.sbatch")
    assert (empty.returncode, empty.stderr) == (
        2,
        "error: no flags; allowed: those of launch/train.py\n",
    )


@pytest.mark.parametrize(
    "command", [("local.sh", "2"), ("slurm.sbatch", "--local=2"), ("tpu_pod.sh", "--local=2", "--")]
)
def test_processes_here_are_told_of_each_other(command):
    done = (
        run(*command, *FLAGS, DRY_RUN="1")
        if command[0] == "local.sh"
        else run(command[0], "--dry-run", *command[1:], *FLAGS)
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len({line.partition("ADDRESS=")[2].partition(" ")[0] for line in lines}) == 1
    for number, line in enumerate(lines):
        assert line.startswith(f"[{number}] env JAX_COORDINATOR_ADDRESS=127.0.0.1:")
        assert f"JAX_NUM_PROCESSES=2 JAX_PROCESS_ID={number} {sys.executable} " in line
        assert TRAIN in line


SMALL = (
    *(
        "--config.data.image_size=16",
        "--config.train.batch_size=8",
        "--config.train.sample_every=0",
    ),
    *("--config.generator.flow.width=32", "--config.generator.flow.depth=1"),
    *("--config.generator.flow.num_heads=2", "--config.train.log_every=2"),
    *("--config.modalities.text.fit_examples=50", "--config.checkpoint.every=2"),
)


@pytest.mark.slow
def test_two_processes_train_stop_and_go_on(tmp_path):
    """SIGTERM to the script has both save; the same command goes on to the end."""
    flags = (FLAGS[0], *SMALL, f"--workdir={tmp_path / 'run'}")
    command = ["bash", str(ROOT / "launch/tpu_pod.sh"), "--local=2", "--", *flags]
    environment = os.environ | {"PYTHON": sys.executable}
    with subprocess.Popen(
        [*command, "--config.train.steps=100000"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        for line in job.stdout:
            if line.startswith("[0] step"):
                break
        job.send_signal(signal.SIGTERM)
        job.stdout.read()
        assert job.wait(120) == 143
    reached = max(
        int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()
    )
    done = run(
        "tpu_pod.sh",
        "--local=2",
        "--",
        *flags,
        f"--config.train.steps={reached + 4}",
        "--accept_config_change",
    )
    assert done.returncode == 0, done.stdout
    lines = [
        json.loads(line)
        for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert lines[-1]["step"] == reached + 4


@pytest.mark.slow
def test_bad_input_ends_all_processes_with_2(tmp_path):
    start = time.monotonic()
    done = run(
        "local.sh", "2", FLAGS[0], "--config.train.batch_size=0", f"--workdir={tmp_path / 'x'}"
    )
    assert done.returncode == 2, time.monotonic() - start
    assert "[0] error: config.train.batch_size = 0" in done.stdout
