"""Writes what torch-fidelity's Inception computes, for `test_inception.py` to compare with.

    python -m tests.pretrained.make_inception_golden --out=tests/pretrained/inception_golden.json

PyTorch and torch-fidelity 0.4.0 are needed, jax is not; nothing is downloaded. The network computes
in float64, and gives float32. Weights and pictures are those of `inception_recipe.py`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torch_fidelity import feature_extractor_inceptionv3 as theirs

from tests.pretrained import inception_recipe as recipe


class Shapes(theirs.FeatureExtractorInceptionV3):
    """Their network, whatever weights it is asked to load."""

    def load_state_dict(self, state, strict=True):
        return None


def state_dict(path):
    """All weights, under their keys."""
    torch.save({}, path)
    made = Shapes("shapes", ["2048"], feature_extractor_weights_path=path)
    return {
        key: torch.tensor(recipe.weight(key, tuple(tensor.shape))) if tensor.dim() else tensor
        for key, tensor in made.state_dict().items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(state_dict(path), path)
        names = [name if name != "logits" else "logits_unbiased" for name in recipe.FEATURES]
        network = theirs.FeatureExtractorInceptionV3(
            "inception",
            names,
            feature_extractor_weights_path=path,
            feature_extractor_internal_dtype="float64",
        )
    images = torch.tensor(recipe.pictures().transpose(0, 3, 1, 2).copy())
    features = {
        name: found.numpy() for name, found in zip(recipe.FEATURES, network(images), strict=True)
    }
    out.write_text(json.dumps(recipe.summary(features)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
