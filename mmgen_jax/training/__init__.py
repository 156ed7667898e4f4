"""State, step, loop, optimizers, sharding, checkpoints: one of each, for every family."""
