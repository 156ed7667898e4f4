"""Trains the classifier that judges a data set's pictures by their labels (`evaluate.py`).

python launch/train_judge.py --config=configs/flow.py:data=digits

It sees real pictures only, and no model that it judges ever sees it.
"""

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.cli.bounds import define_seed
from mmgen_jax.data import DataOptions
from mmgen_jax.media.outputs import KEY

CONFIG = cli.define_config()
STEPS = flags.DEFINE_integer(
    "steps", 2_000, "Optimizer steps.", lower_bound=1, upper_bound=10_000_000
)
SEED = define_seed("Of parameters and order.")
output = cli.define_out(
    "train_judge",
    ".safetensors",
    required=False,
    help="File (.safetensors) to write; judge.safetensors in the data set's folder.",
)
flags.mark_flag_as_required("config")


def main() -> None:
    out = output() if flags.FLAGS.out else None
    config.validate(CONFIG.value)
    data = DataOptions.of(CONFIG.value)

    # imports jax: after the config is known to be good
    from mmgen_jax.evaluation.judges import classifier

    classifier.check_judged(data.name)
    out = out or output(classifier.default_path(data))
    trained = classifier.train(data, STEPS.value, SEED.value)
    classifier.save(trained, out.path, {KEY: out.software})
    print(f"{out}: right for {trained.accuracy:.2%} of the test pictures")


if __name__ == "__main__":
    cli.run(main)
