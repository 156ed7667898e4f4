"""Throws hostile input at everything that reads some, and says what did not stand up to it.

    python -m tools.fuzz                        all of it: minutes (`make fuzz`)
    python -m tools.fuzz --lines=200 --flags=0  fewer of one kind, none of another
    python -m tools.fuzz --case=lines:17        that case alone, with its traceback

Kinds of cases, each in a file of `tools/fuzzing/`:

  lines     command lines of every launcher, up to the end of validation
  stepped   configs that `validate` lets pass: built and traced, a few trained for two steps
  flags     whole commands with a malformed flag: numbers, paths, devices, pipes
  damage    a run with a damaged file: loaded, sampled, resumed
  hostile   pictures, sounds, weights, vectors, tokenizers, data sets as an enemy would make them

A case ends in one of three ways. It worked; or it was refused, with one line and exit code 1 or 2;
or it is a fault: a traceback, a hang, over 4 GB of memory, a file where none belongs, a program
that was started, a message of several lines, or another image than the same run produced before.
Faults are grouped by where they came from, each with the command that repeats it; if there are any,
the exit code is 1.

Everything depends on --seed alone: a case is made from the seed, its kind and its number. A case
runs in a folder of its own, with its own HOME, in a process that a worker forked for a few cases
and watches (`pool`, `guard`); `cases` says what a case is, and judges how it ended.
"""

import argparse
import collections
import importlib
import sys
import tempfile
import time
from pathlib import Path

from tools.fuzzing import kinds, pool
from tools.fuzzing.pool import Report, Settings

SHOWN = 3  # cases of each group


def main() -> int:
    """Runs what the flags ask for; returns the exit code."""
    asked = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as place:
        settings = Settings(asked.seed, Path(place).resolve(), asked.patience)
        if asked.case:
            return again(asked.case, settings)
        reports = []
        for name in kinds.COUNTS:
            if count := getattr(asked, name):
                begun = time.monotonic()
                numbers = range(count)
                reports += followed(name, numbers, settings, asked.workers, asked.verbose)
                print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    faults = grouped(reports)
    print(summary(faults, asked.seed) + "\n" + table(reports))
    if asked.out:
        asked.out.write_text(summary(faults, asked.seed) + "\n" + table(reports), encoding="utf-8")
    return 1 if faults else 0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    found = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    found.add_argument("--seed", type=int, default=0, help="everything depends on it alone")
    found.add_argument("--case", help="KIND:NUMBER, to repeat that case and nothing else")
    found.add_argument("--workers", type=int, default=2, help="processes that fork cases")
    found.add_argument("--patience", type=float, default=2.0, help="factor on all time limits")
    found.add_argument("--verbose", action="store_true", help="say how each case ended")
    found.add_argument("--out", type=Path, help="file for the faults, besides the terminal")
    for name, count in kinds.COUNTS.items():
        found.add_argument(f"--{name}", type=int, default=count, help="how many cases")
    return found


def followed(
    name: str, numbers: range, settings: Settings, workers: int, verbose: bool
) -> list[Report]:
    """Runs cases of a kind; says what is a fault as soon as it is seen."""
    reports, seen = [], set()
    for report in pool.run(name, list(numbers), settings, workers):
        reports.append(report)
        group = report.outcome.group
        if verbose:
            end = (report.outcome.detail.strip().splitlines() or [""])[-1]
            print(f"{report.kind}:{report.number} {report.title[:200]}")
            print(f"    {report.outcome.verdict} {end}", flush=True)
        if report.outcome.verdict == "fault" and group not in seen:
            seen.add(group)
            print(f"{report.kind}:{report.number}: {group}", flush=True)
    return reports


def again(case: str, settings: Settings) -> int:
    """Runs one case in this process, and shows all that it said."""
    name, _, number = case.partition(":")
    pool.environment(settings.shared)
    kind = kinds.kind(name)
    for module in kind.modules:  # as in a worker: what a case is made of depends on them
        importlib.import_module(module)
    kind.prepare(settings.shared)
    guard = pool.Guard(settings.shared / "cases", settings.shared, kind.cut)
    guard.install()
    outcome = pool.attempt(kind, int(number), settings, guard, print)
    print(f"{outcome.verdict}: {outcome.group}\n{outcome.detail}")
    return int(outcome.verdict == "fault")


def grouped(reports: list[Report]) -> dict[str, list[Report]]:
    """The faults, by what they have in common, the most frequent first."""
    found = collections.defaultdict(list)
    for report in reports:
        if report.outcome.verdict == "fault":
            found[f"{report.kind}: {report.outcome.group}"].append(report)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def summary(faults: dict[str, list[Report]], seed: int) -> str:
    """Each group of faults, with how to repeat some of them."""
    lines = []
    for group, reports in faults.items():
        lines.append(f"\n{len(reports)} x {group}")
        for report in reports[:SHOWN]:
            lines.append(
                f"    python -m tools.fuzz --seed={seed} --case={report.kind}:{report.number}"
            )
            lines.append(f"      {report.title[:600]}")
        last = reports[0].outcome.detail.strip().splitlines()
        lines += [f"      | {line[:300]}" for line in last[-3:]]
    return "\n".join(lines)


def table(reports: list[Report]) -> str:
    """How many cases of each kind ended how, and the slowest."""
    lines = [f"\n{'':12}{'cases':>8}{'worked':>8}{'refused':>8}{'faults':>8}{'slowest, s':>12}"]
    for name in kinds.COUNTS:
        those = [report for report in reports if report.kind == name]
        if those:
            ends = collections.Counter(report.outcome.verdict for report in those)
            counts = "".join(f"{ends[v]:>8}" for v in ("worked", "refused", "fault"))
            slowest = max(report.seconds for report in those)
            lines.append(f"{name:12}{len(those):>8}{counts}{slowest:>12.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
