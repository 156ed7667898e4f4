"""Keys that were called otherwise once: configs of older runs are read by this table."""

import re
from collections.abc import Mapping
from typing import Any

FAMILIES = r"(generator\.\w+)"
INPUTS = r"(modalities\.\w+)"
# A pattern of a dotted path, and what the key is called now.
RENAMED = {
    rf"{FAMILIES}\.heads": r"\1.num_heads",
    rf"{FAMILIES}\.patch": r"\1.patch_size",
    rf"{FAMILIES}\.moments_decay": r"\1.statistics_decay",
    r"generator\.flow\.timestep_mean": "generator.flow.logit_mean",
    r"generator\.flow\.timestep_deviation": "generator.flow.logit_std",
    r"generator\.gan\.noise": "generator.gan.z_dim",
    r"generator\.(vae|vqvae)\.latent": r"generator.\1.latent_dim",
    r"generator\.vqvae\.codes": "generator.vqvae.codebook_size",
    rf"{INPUTS}\.heads": r"\1.num_heads",
    rf"{INPUTS}\.patch": r"\1.patch_size",
    rf"{INPUTS}\.patch_frames": r"\1.frames_per_token",
    rf"{INPUTS}\.bins": r"\1.n_mels",
    rf"{INPUTS}\.keep": r"\1.keep_rate",
    r"fusion\.present_all": "fusion.keep_all_rate",
    r"fusion\.present_none": "fusion.drop_all_rate",
    r"objective\.reader_heads": "objective.recovery_num_heads",
    r"objective\.reader_patch": "objective.recovery_patch_size",
    r"objective\.reader_(width|depth)": r"objective.recovery_\1",
    r"train\.accumulate": "train.grad_accum_steps",
    r"(optimizer\.\w+)\.every": r"\1.update_every",
    r"(optimizer\.\w+)\.start": r"\1.update_start",
}
DEEPEST = 2  # groups around a group, as in generator.flow.sample; a stranger's file may be deeper


def current(path: str) -> str:
    """Returns what a key is called now, by its dotted path; the path itself if it is no old one."""
    for pattern, new in RENAMED.items():
        if found := re.fullmatch(pattern, path):
            return found.expand(new)
    return path


def with_current_names(saved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a config that was saved, its keys called as they are now."""
    named: dict[str, Any] = {}
    for name, value in saved.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and prefix.count(".") < DEEPEST:
            value = with_current_names(value, f"{path}.")
        now = current(path)
        named[name if now == path else now.rpartition(".")[2]] = value
    return named
