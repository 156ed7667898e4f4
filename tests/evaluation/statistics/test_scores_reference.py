"""Scores of features against torch-fidelity, clean-fid and prdc, on the same features."""

import numpy as np
import pytest

from mmgen_jax.evaluation.statistics import frechet
from mmgen_jax.evaluation.statistics.inception_score import inception_score
from mmgen_jax.evaluation.statistics.kernel_distance import kernel_distance
from mmgen_jax.evaluation.statistics.manifold import density_coverage, precision_recall

pytestmark = pytest.mark.reference


def some(count, features, shift, seed):
    """Positive and correlated, as what Inception says."""
    mixed = np.random.default_rng(7).normal(size=(features, features)) / np.sqrt(features)
    white = np.random.default_rng(seed).normal(size=(count, features))
    return np.maximum(white @ mixed + shift, 0)


def whole(count, top, seed):
    """Small whole numbers, at which many distances are equal."""
    return np.random.default_rng(seed).integers(0, top, (count, 4)).astype(np.float64)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # clean-fid's
@pytest.mark.parametrize(("count", "tolerance"), [(3_000, 1e-9), (700, 1e-6)])
def test_the_frechet_distance(count, tolerance):
    """Of more pictures than features (1,024), and of fewer."""
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    clean = pytest.importorskip("cleanfid.fid")
    torch = pytest.importorskip("torch")
    one, other = some(count, 1_024, 0.3, 0), some(count, 1_024, 0.35, 1)
    found = frechet.distance(frechet.fit(one), frechet.fit(other))
    theirs = fid.fid_statistics_to_metric(
        *(fid.fid_features_to_statistics(torch.tensor(x)) for x in (one, other)), verbose=False
    )
    assert found == pytest.approx(theirs["frechet_inception_distance"], rel=tolerance)
    assert found == pytest.approx(float(clean.fid_from_feats(one, other)), rel=tolerance)


@pytest.mark.parametrize(
    "make",
    [lambda s: some(1_500, 256, s / 20, s), lambda s: whole(1_500, 4, s)],
    ids=["real", "whole"],
)
def test_the_kernel_distance(make):
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    torch = pytest.importorskip("torch")
    one, other = make(1), make(2)
    theirs = kid.kid_features_to_metric(
        torch.tensor(one),
        torch.tensor(other),
        kid_subsets=20,
        kid_subset_size=1_000,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=2020,
        verbose=False,
    )
    assert kernel_distance(one, other, subsets=20) == pytest.approx(
        tuple(theirs.values()), rel=1e-10, abs=1e-12
    )


@pytest.mark.parametrize("count", [5_000, 703])
def test_the_inception_score(count):
    isc = pytest.importorskip("torch_fidelity.metric_isc")
    torch = pytest.importorskip("torch")
    logits = 2 * np.random.default_rng(0).normal(size=(count, 1_008))
    theirs = isc.isc_features_to_metric(torch.tensor(logits))
    assert inception_score(logits) == pytest.approx(tuple(theirs.values()), rel=1e-10)


@pytest.mark.parametrize(
    "make",
    [lambda s: some(1_500, 256, s / 20, s), lambda s: whole(1_500, 9, s)],
    ids=["real", "whole"],
)
def test_neighbourhoods(make):
    prc = pytest.importorskip("torch_fidelity.metric_prc")
    prdc = pytest.importorskip("prdc")
    torch = pytest.importorskip("torch")
    real, generated = make(1), make(2)
    theirs = prc.prc_features_to_metric(
        torch.tensor(generated),
        torch.tensor(real),
        prc_neighborhood=3,
        prc_batch_size=500,
        verbose=False,
    )
    expected = (theirs["precision"], theirs["recall"])
    assert precision_recall(real, generated, 3) == pytest.approx(expected, rel=1e-6)  # float32
    others = prdc.compute_prdc(real, generated, nearest_k=5)
    expected = (others["density"], others["coverage"])
    assert density_coverage(real, generated, 5) == pytest.approx(expected, rel=1e-12)
