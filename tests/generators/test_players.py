"""Families of two players: one step gives each player its own gradient, sharing what it can."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.conditioning import fusion
from mmgen_jax.model import encode
from mmgen_jax.objective import objective
from tests.tiny import open_source, random_parameters, tiny_batch, tiny_config

# By game, the family, the modalities (one game has a term that compares examples), the options.
GAMES = {
    "r3gan": ("gan", ("text", "label"), {"objective": "r3gan", "penalty_every": 2}),
    "gan_cls": ("gan", ("label",), {"objective": "gan_cls", "penalty_every": 2}),
    "stylegan": (
        "stylegan",
        ("label",),
        {"r1_every": 2, "path_every": 2, "mismatch_weight": 0.5}
        | {"patch_size": 2, "mode_seeking_weight": 0.1},
    ),
}
pytestmark = pytest.mark.parametrize(
    "game",
    ["gan_cls", *(pytest.param(game, marks=pytest.mark.slow) for game in ("r3gan", "stylegan"))],
)


@functools.lru_cache
def build(game):
    """(model, parameters without a zero, state, batch)."""
    family, names, options = GAMES[game]
    config = tiny_config(names)
    config.generator.name = family
    config.generator[config.generator.name].update(options)
    for name in names:
        config.modalities[name].generated_weight = 0.1
    model = models.build(config, models.fit(config, open_source(config)))
    init = functools.partial(models.init, model)
    params, _ = random_parameters(init, equalized=game == "stylegan")
    state = jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(init, jax.random.key(0))[1])
    return model, params, state, tiny_batch(names)


def losses(game, params, step):
    """Both players' losses, and the objective, at a step with all lazy terms or with none."""
    model, _, state, batch = build(game)
    total, (_, metrics) = objective(model, params, state, batch, jax.random.key(1), step)
    return total, metrics


@functools.lru_cache
def gradients(game):
    """By step: all groups' gradients of the objective, "together", and of each player's loss."""

    def all_of(params, step):
        def of_player(params, player):
            return losses(game, params, step)[1][f"loss_{player}"]

        players = build(game)[0].generator.players
        alone = {player: jax.grad(of_player)(params, player) for player in players}
        return alone | {"together": jax.grad(lambda p: losses(game, p, step)[0])(params)}

    compiled = jax.jit(all_of)
    return [compiled(build(game)[1], jnp.asarray(step)) for step in (0, 1)]


def assert_same(ours, theirs):
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    assert scale > 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * scale), ours, theirs
    )


@pytest.mark.parametrize("step", [0, 1])
def test_one_gradient_of_the_sum_is_each_players_own(game, step):
    found = gradients(game)[step]
    for player, groups in build(game)[0].generator.players.items():
        for group in groups:
            assert_same(found["together"][group], found[player][group])
        # and a player's loss teaches nobody else
        for group in found[player].keys() - set(groups):
            assert all((leaf == 0).all() for leaf in jax.tree.leaves(found[player][group])), group


def test_the_generator_draws_once_for_both_players(game):
    """One step computes less than the players' steps apart, by a forward pass of the generator."""
    model, params, state, batch = build(game)

    def operations(function):
        return jax.jit(function).lower(params).cost_analysis()["flops"]

    def of_player(player):
        def gradient(params):
            groups = {g: params[g] for g in model.generator.players[player]}
            loss = lambda own: losses(game, params | own, 1)[1][f"loss_{player}"]  # noqa: E731
            return jax.grad(loss)(groups)

        return operations(gradient)

    def drawn(params):
        h = encode(model, params, batch.values, batch.has)
        condition = fusion.fuse(params["encoders"]["fusion"], h, batch.has)
        keys = jax.random.split(jax.random.key(0), batch.index.shape[0])
        return model.generator.losses(params, state, batch.images, condition, keys, 1).images

    together = operations(jax.grad(lambda params: losses(game, params, 1)[0]))
    apart = sum(map(of_player, model.generator.players))
    assert together <= apart - 0.95 * operations(drawn)
