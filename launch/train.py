"""Trains a model; resumes by itself when --workdir holds a checkpoint.

python launch/train.py --config=configs/flow.py:data=shapes,size=tiny --workdir=runs/flow

The same command on every machine of a TPU pod or a Slurm job, or with JAX_COORDINATOR_ADDRESS,
JAX_NUM_PROCESSES and JAX_PROCESS_ID set anywhere, is one run of several processes.
"""

from pathlib import Path

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.errors import InputError

CONFIG = cli.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
ACCEPT_CONFIG_CHANGE = flags.DEFINE_bool(
    "accept_config_change", False, "Resume although the checkpoint was made by another config."
)
located = cli.define_data_path()
ACCEPT_DATA_CHANGE = flags.DEFINE_bool(
    "accept_data_change", False, "Resume although the data is not what it was trained on so far."
)
START_AFRESH = flags.DEFINE_bool(
    "start_afresh",
    False,
    "Begin again at step 0 where the run had checkpoints and none of them is whole any more.",
)
flags.mark_flag_as_required("config")


def main() -> None:
    workdir, moved = Path(WORKDIR.value), False
    if (workdir / "config.json").is_file():
        moved = located(CONFIG.value)
    elif flags.FLAGS.data_path is not None:
        raise InputError(
            f"--data_path goes with a run that goes on, and {workdir} has none; allowed:"
            " --config.data.path"
        )
    config.validate(CONFIG.value)

    from mmgen_jax.training import loop, processes  # jax: after the config is known to be good

    with processes.joined():
        allowed = loop.Allowed(
            config_change=ACCEPT_CONFIG_CHANGE.value,
            data_change=ACCEPT_DATA_CHANGE.value,
            data_moved=moved,
            start_afresh=START_AFRESH.value,
        )
        loop.train(CONFIG.value, workdir, allowed)


if __name__ == "__main__":
    cli.run(main)
