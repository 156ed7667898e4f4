"""Measures the input pipeline alone: records per second, from files to batches.

python launch/benchmark_data.py --config=configs/flow.py:data=emoji,modalities=text+audio --torch

With --torch also torch.utils.data.DataLoader, in turns with ours, over the same files with the same
decoding and as many processes of one thread each, and the ratio (ours by theirs).
"""

import contextlib
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from mmgen_jax import cli, config
from mmgen_jax.cli.bounds import define_names, whole_numbers
from mmgen_jax.errors import InputError

CONFIG = cli.define_config()
BATCHES = flags.DEFINE_integer(
    "batches", 40, "Batches of a round.", lower_bound=1, upper_bound=1_000_000
)
ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Rounds of each loader.", lower_bound=1, upper_bound=10_000
)
WORKERS = define_names("workers", ["1", "2"], "Processes of either loader.")
TORCH = flags.DEFINE_bool("torch", False, "Also measure torch.utils.data.DataLoader.")
MOST_WORKERS = 256
WARM_UP = 3  # batches that are not timed
flags.mark_flag_as_required("config")


def main() -> None:
    recipe = CONFIG.value
    config.validate(recipe)
    asked = whole_numbers("workers", WORKERS.value, MOST_WORKERS)

    from mmgen_jax import model as models  # imports jax: after the config is known to be good
    from mmgen_jax.data import DataOptions

    source = DataOptions.of(recipe).open(recipe.data.split)
    if TORCH.value and len(source) < recipe.train.batch_size:
        raise InputError(
            f"config.train.batch_size = {recipe.train.batch_size}; allowed with --torch: at most"
            f" the {len(source)} records that there are"
        )
    model = models.build(recipe, models.fit(recipe, source))
    shape = model.shared.image_shape
    prepare = model.prepare
    print(
        f"{recipe.data.name}: {len(source)} records, {shape[0]}x{shape[1]},"
        f" {'+'.join(model.modalities)}, batches of {recipe.train.batch_size};"
        f" {os.cpu_count()} cores, {platform.machine()},"
        f" Python {platform.python_version()}, numpy {np.__version__}"
    )
    for workers in asked:
        loaders = {"ours": partial(_ours, source, prepare, recipe, workers)}
        if TORCH.value:
            loaders["torch"] = partial(_torch, source, prepare, recipe, workers)
        report(workers, measure(loaders, recipe.train.batch_size))


def measure(
    loaders: dict[str, Callable[[], Generator[Any, None, None]]], batch_size: int
) -> dict[str, list[float]]:
    """Records per second of each loader, one number a round; rounds take turns."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in tqdm(range(ROUNDS.value), desc="rounds", disable=None):
        for name, loader in loaders.items():
            with contextlib.closing(loader()) as batches:  # its workers end with its round
                for _ in itertools.islice(batches, WARM_UP):
                    pass
                start = time.perf_counter()
                count = sum(1 for _ in itertools.islice(batches, BATCHES.value))
                rates[name].append(count * batch_size / (time.perf_counter() - start))
    return rates


def report(workers: int, rates: dict[str, list[float]]) -> None:
    """A line for each loader, and the ratio's."""
    for name, found in rates.items():
        print(
            f"{name}, {workers} workers: {statistics.median(found):.0f} records/s,"
            f" {statistics.median(found) / workers:.0f} per core"
            f" ({min(found):.0f} to {max(found):.0f} in {len(found)} rounds)"
        )
    if "torch" in rates:
        ratios = [a / b for a, b in zip(rates["ours"], rates["torch"], strict=True)]
        print(
            f"ratio, {workers} workers: {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _ours(source: Any, prepare: Any, recipe: Any, workers: int) -> Generator[Any, None, None]:
    from mmgen_jax.data.pipeline import training_batches

    batches = training_batches(
        source,
        prepare,
        recipe.train.batch_size,
        recipe.data.seed,
        threads=0,
        workers=workers,
        on_bad_record=recipe.data.on_bad_record,
    )
    try:
        yield from batches
    finally:
        batches.close()


def _torch(source: Any, prepare: Any, recipe: Any, workers: int) -> Generator[Any, None, None]:
    try:
        import torch
    except ImportError as error:
        raise InputError("--torch needs PyTorch; install it: pip install torch") from error

    class Examples(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(source)

        def __getitem__(self, index: int) -> Any:
            return prepare(source[index], index)

    loader = torch.utils.data.DataLoader(
        Examples(),
        recipe.train.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        multiprocessing_context="fork",  # what is prepared with cannot be pickled by its means
        persistent_workers=True,
    )
    while True:
        yield from loader


if __name__ == "__main__":
    cli.run(main)
