"""The smallest run that has text, labels and sounds: a recipe for launchers, trained in seconds."""

from ml_collections import ConfigDict

from mmgen_jax import config as configs

STEPS = 6


def get_config(argument: str | None = None) -> ConfigDict:
    """Shapes at 16 pixels, through a flow of width 16."""
    config = configs.default()
    config.data.image_size, config.data.threads = 16, 1
    config.modalities.names = tuple((argument or "text+label+audio").split("+"))
    config.fusion.width, config.fusion.pooled = 16, 8
    flow = config.generator.flow
    flow.patch_size, flow.width, flow.depth, flow.num_heads = 8, 16, 1, 2
    flow.sample.steps, flow.sample.solver = 2, "euler"
    for name in ("text", "audio", "image"):
        options = config.modalities[name]
        options.width, options.depth, options.num_heads = 16, 1, 2
    text, audio = config.modalities.text, config.modalities.audio
    text.vocabulary_size, text.fit_examples, text.max_tokens = 300, 100, 12
    audio.fit_examples, audio.n_mels = 8, 16
    objective = config.objective
    objective.recovery_width, objective.recovery_depth, objective.recovery_num_heads = 16, 1, 2
    config.train.batch_size, config.train.steps = 8, STEPS
    config.train.log_every, config.train.sample_every = 1, 0
    config.train.ema_decay = 0.5
    config.optimizer.generator.update(learning_rate=0.02, warmup_steps=0)
    config.checkpoint.every, config.checkpoint.keep_last = 2, 9
    config.eval.count = 4
    return config
