"""Writes what the DiT authors' PyTorch code computes, for `test_dit.py` to compare with.

    python -m tests.pretrained.make_dit_golden --reference=DIR --out=FILE

FILE is `dit_golden.json` beside this one.
DIR is a checkout of https://github.com/facebookresearch/DiT, the newest commit; PyTorch and timm
are needed, jax is not. Weights and inputs are those of `dit_recipe.py`, under the authors' keys.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from tests.pretrained import dit_recipe as recipe

PUBLISHED = ("DiT-S/2", "DiT-B/2", "DiT-L/2", "DiT-XL/2")


def network(models, case):
    """One of theirs with the recipe's weights."""
    sizes, (height, _, channel) = recipe.CASES[case], recipe.IMAGES[case]
    made = models.DiT(
        input_size=height,
        patch_size=sizes["patch_size"],
        in_channels=channel,
        hidden_size=sizes["width"],
        depth=sizes["depth"],
        num_heads=sizes["num_heads"],
        num_classes=recipe.CLASSES,
        learn_sigma=sizes["learn_sigma"],
    ).eval()
    fill(made, recipe.case_state_dict(case))
    return made


def fill(made, weights):
    """Gives a network all weights but its fixed positions, which it has made itself."""
    own = made.state_dict()
    assert weights.keys() | {"pos_embed"} == own.keys(), weights.keys() ^ own.keys()
    tensors = {key: torch.tensor(array) for key, array in weights.items()}
    made.load_state_dict(tensors | {"pos_embed": own["pos_embed"]}, strict=True)


def tensors(case):
    """(images with channels first, timesteps up to 1000, labels), as theirs takes them."""
    images = torch.tensor(recipe.noisy(case).transpose(0, 3, 1, 2).copy())
    return images, torch.tensor(recipe.TIMESTEPS), torch.tensor(recipe.LABELS)


def square(models):
    """Their forward pass, as images with channels last."""
    made = network(models, "square")
    return made(*tensors("square")).numpy().transpose(0, 2, 3, 1)


def rectangle(models):
    """Their parts in their order, with positions by their function: the patches of the output.

    Their network itself takes the number of rows for the root of the number of patches.
    """
    case = "rectangle"
    made, (images, timestep, label) = network(models, case), tensors(case)
    sizes, (height, width, _) = recipe.CASES[case], recipe.IMAGES[case]
    grid = height // sizes["patch_size"], width // sizes["patch_size"]
    made.x_embedder.img_size, made.x_embedder.grid_size = (height, width), grid
    positions = torch.tensor(their_positions(models, *grid, sizes["width"])).float()
    x = made.x_embedder(images) + positions[None]
    condition = made.t_embedder(timestep) + made.y_embedder(label, False)
    for block in made.blocks:
        x = block(x, condition)
    return made.final_layer(x, condition).numpy()


def their_positions(models, rows, columns, width):
    """Of a grid as their function makes it, columns first, but that need not be square."""
    numbers = (np.arange(count, dtype=np.float32) for count in (columns, rows))
    grid = np.stack(np.meshgrid(*numbers), axis=0)
    return models.get_2d_sincos_pos_embed_from_grid(width, grid)


def counts(models):
    """Numbers that are trained, labels' table included, of the published networks."""
    found = {}
    for name in PUBLISHED:
        with torch.device("meta"):
            made = models.DiT_models[name]()
        found[name] = sum(x.numel() for x in made.parameters() if x.requires_grad)
    return found


def rounded(array):
    """The same numbers with 8 digits, as nested lists."""
    if isinstance(array, list):
        return [rounded(value) for value in array]
    return float(f"{array:.8g}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sys.path.insert(0, options.reference)
    models = importlib.import_module("models")
    with torch.no_grad():
        arrays = {
            "square": square(models),
            "rectangle": rectangle(models),
            "positions": their_positions(models, *recipe.GRID),
        }
    numbers = {name: rounded(array.tolist()) for name, array in arrays.items()}
    numbers["counts"] = counts(models)
    lines = (f'"{name}": {json.dumps(value)}' for name, value in numbers.items())
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
