"""The other families on layouts of devices: the same training, and one that resumes bit by bit."""

import numpy as np
import pytest

from tests.layouts import begin_in, train_on
from tests.runs import everything, logged
from tests.tiny import tiny_config

pytestmark = pytest.mark.slow  # minutes, most of them compiling
STEPS, HALF = 10, 5
LAYOUTS = ("one", "data", "pmap")
# By family, metrics that look across the examples of a batch, and what else must be logged.
FAMILIES = {
    "autoencoder": ("mse", "psnr", "generated_text"),
    "gan": ("mismatched", "r1", "r2", "score_real", "score_generated", "generated_label"),
    "stylegan": ("r1", "path_mean", "augment_probability", "real_sign", "generated_text"),
    "vae": ("bits_per_dim", "kl", "nll", "kl_0", "kl_1", "generated_text"),
    "vqvae": ("psnr", "prior", "perplexity", "distance", "adversarial_weight"),
}

# Batch norms after few layers: rounding that Adam makes whole steps of grows fast.
RATES = {"autoencoder": 5e-5, "gan": 2e-3, "stylegan": 2e-3, "vae": 2e-3, "vqvae": 2e-4}


def config(family):
    """Few steps, but all lazy terms come, and the augmentation begins to act."""
    config = tiny_config(("text", "label"))
    config.generator.name = family
    config.train.batch_size, config.train.steps, config.train.log_every = 16, STEPS, 1
    config.checkpoint.every = HALF
    config.generator.gan.penalty_every = 2
    config.generator.vqvae.adversarial_weight, config.generator.vqvae.adversarial_from = 0.1, 2
    config.generator.vqvae.discriminator_widths = (8, 8)
    stylegan = config.generator.stylegan
    stylegan.r1_every, stylegan.path_every = 4, 2
    stylegan.augment_target, stylegan.augment_images = -1.0, 160
    for name in config.modalities.names:
        config.modalities[name].generated_weight = 0.1
    for player in ("generator", "discriminator"):
        rate = RATES[family]
        config.optimizer[player].update(learning_rate=rate, warmup_steps=2, clip_norm=0.0)
    return config


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By (layout, family) and by ("half", family), which one device goes on with: directories."""
    top = tmp_path_factory.mktemp("families")
    whole = {(layout, f): top / f"{layout}-{f}" for layout in LAYOUTS for f in FAMILIES}
    halves = {("half", family): top / f"half-{family}" for family in FAMILIES}
    for (_, family), workdir in whole.items():
        begin_in(workdir, config(family))
    for layout in LAYOUTS:
        mine = [whole[layout, family] for family in FAMILIES]
        if layout == "one":
            mine += [(halves["half", f], whole["one", f]) for f in FAMILIES]
        train_on(layout, *mine)
    return whole | halves


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_trains_alike(runs, layout, family):
    ours, theirs = (logged(runs[name, family]) for name in (layout, "one"))
    assert [line["step"] for line in ours] == [*range(1, STEPS + 1)]
    for metric in sorted(ours[0].keys() & theirs[0].keys()):
        if "accuracy" in metric:  # one more or less, where two are about equal
            continue
        a, b = ([line[metric] for line in lines] for lines in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=metric)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_resumes_bit_by_bit(runs, family):
    half, whole = runs["half", family], runs["one", family]
    assert logged(half) == logged(whole)
    assert everything(half, STEPS) == everything(whole, STEPS)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_curves_that_people_look_at_are_logged(runs, family):
    lines = logged(runs["one", family])
    losses = ["loss_generator", "recovery_accuracy_text", "recovery_accuracy_label"]
    if family in ("gan", "stylegan", "vqvae"):
        losses += ["loss_discriminator", "adversarial", "gradient_norm_discriminator"]
    for metric in (*losses, *FAMILIES[family]):
        values = [line[metric] for line in lines]
        assert np.isfinite(values).all() and len(set(values)) > 1, metric


def test_augmentation_has_begun(runs):
    assert logged(runs["one", "stylegan"])[-1]["augment_probability"] > 0.5
