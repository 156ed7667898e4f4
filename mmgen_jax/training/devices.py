"""What accelerators can do, by the names that jax gives them."""

from typing import NamedTuple

GIB = 2**30


class Kind(NamedTuple):
    """A kind of accelerator.

    Attributes:
      name: as people say it.
      peak: floating-point operations a second of dense bfloat16 products, as its maker states.
      memory: bytes.
    """

    name: str
    peak: float
    memory: int


# Makers' data sheets; what jax calls `Device.device_kind`.
KINDS = {
    "TPU v4": Kind("TPU v4", 275e12, 32 * GIB),
    "TPU v5 lite": Kind("TPU v5e", 197e12, 16 * GIB),
    "TPU v5e": Kind("TPU v5e", 197e12, 16 * GIB),
    "TPU v5": Kind("TPU v5p", 459e12, 95 * GIB),
    "TPU v5p": Kind("TPU v5p", 459e12, 95 * GIB),
    "TPU v6 lite": Kind("TPU v6e", 918e12, 32 * GIB),
    "TPU v6e": Kind("TPU v6e", 918e12, 32 * GIB),
    "NVIDIA A100-SXM4-40GB": Kind("A100", 312e12, 40 * GIB),
    "NVIDIA A100-SXM4-80GB": Kind("A100", 312e12, 80 * GIB),
    "NVIDIA A100-PCIE-40GB": Kind("A100", 312e12, 40 * GIB),
    "NVIDIA A100 80GB PCIe": Kind("A100", 312e12, 80 * GIB),
    "NVIDIA H100 80GB HBM3": Kind("H100", 989e12, 80 * GIB),
    "NVIDIA H100 PCIe": Kind("H100 PCIe", 756e12, 80 * GIB),
    "NVIDIA H200": Kind("H200", 989e12, 141 * 10**9),
}


def kind_of(device_kind: str) -> Kind | None:
    """What is known of a device; None where that is nothing: a peak is not guessed."""
    return KINDS[device_kind] if device_kind in KINDS else None
