"""The sizes of the published diffusion transformers (DiT, Peebles & Xie 2023, table 1).

Nothing here imports jax, so that a recipe may read it; `dit` has the network.
"""

# Name -> arguments of `dit.DiT`. L and XL have 16 heads both, so XL's are of 72 channels, not 64.
SIZES = {
    "S": {"depth": 12, "width": 384, "num_heads": 6},
    "B": {"depth": 12, "width": 768, "num_heads": 12},
    "L": {"depth": 24, "width": 1024, "num_heads": 16},
    "XL": {"depth": 28, "width": 1152, "num_heads": 16},
}
# The patch sizes that each of them comes with: DiT-XL/2, DiT-XL/4, DiT-XL/8.
PATCHES = (2, 4, 8)
