"""Trains the classifier that judges a data set's pictures by their labels (`evaluate.py`).

python launch/train_judge.py --config=configs/flow.py:data=digits

It sees real pictures only, and no model that it judges ever sees it.
"""

from pathlib import Path

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.errors import InputError

CONFIG = cli.define_config()
STEPS = flags.DEFINE_integer("steps", 2_000, "Optimizer steps.", lower_bound=1)
SEED = flags.DEFINE_integer(
    "seed", 0, "Of parameters and order.", lower_bound=0, upper_bound=2**32 - 1
)
OUT = flags.DEFINE_string(
    "out", None, "File (.safetensors) to write; judge.safetensors in the data set's folder."
)
flags.mark_flag_as_required("config")


def main() -> None:
    data = CONFIG.value.data
    config.validate(CONFIG.value)

    # imports jax: after the config is known to be good
    from mmgen_jax.metrics import classifier

    classifier.check_judged(data.name)
    out = Path(OUT.value) if OUT.value else classifier.default_path(data)
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise InputError(f"--out={out} must be a .safetensors file in a folder that is there")
    trained = classifier.train(data, STEPS.value, SEED.value)
    classifier.save(trained, out)
    print(f"{out}: right for {trained.accuracy:.2%} of the test pictures")


if __name__ == "__main__":
    cli.run(main)
