"""What a compiled program sends between devices, read from the text of its HLO."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "c64": 8, "c128": 16}  # of one number; else

_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.+?) ({'|'.join(KINDS)}|ragged-all-to-all)(-start)?\(")
_CALLS = re.compile(r"(?:calls|to_apply|body|condition|called_computations)=\{?(%[\w.-]+)")
_BRANCHES = re.compile(r"(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=(%[\w.-]+))")
_WHILE = re.compile(r" while\(.*condition=%(?P<condition>[\w.-]+), body=%(?P<body>[\w.-]+)")
_TRIPS = re.compile(r'known_trip_count"?:\s*\{"n":"(\d+)"\}')
_SHAPE = re.compile(r"\b([a-z]+\d+\w*|pred)\[([\d,]*)\]")


class Traffic(NamedTuple):
    """Collectives of one kind, in one run of a program.

    Attributes:
      count: how many a device takes part in.
      bytes: that it sends by them, if they go round a ring: of an array of n bytes on k devices an
        all-gather and a reduce-scatter send n (k - 1) / k, an all-reduce twice as much (Patarasu &
        Yuan 2009), a permutation n.
    """

    count: int
    bytes: int


def traffic(hlo: str, devices: int) -> dict[str, Traffic]:
    """What each device sends, by kind; kinds that do not occur are left out.

    What stands in a loop counts as often as the loop runs; of a conditional every branch does. A
    collective that is spread over many fusions, to overlap with them, is one.

    Args:
      hlo: `jax.stages.Compiled.as_text()`, of a program that is the same on all devices.
      devices: that run it.

    Raises:
      ValueError: if a loop with a collective in it has no length that stands in the text.
    """
    bodies = _computations(hlo)
    times = _times(bodies)
    counts, sent, seen = defaultdict(int), defaultdict(float), set()
    for name, lines in bodies.items():
        for line in lines:
            found = _COLLECTIVE.search(line)
            if not found or not times[name]:
                continue
            fragment = _fragment(line)
            if fragment in seen:
                continue
            seen |= {fragment} - {None}
            # A TPU's reduce-scatter: an all-reduce of which each device keeps its part.
            scattered = found[2] == "all-reduce" and name.startswith("all-reduce-scatter")
            kind = "reduce-scatter" if scattered else found[2]
            counts[kind] += times[name]
            size = _bytes(found[1], halved=found[3] is not None and kind != "all-reduce")
            group = _group(line, devices)
            sent[kind] += times[name] * _wire(kind, size, group, whole=scattered)
    return {kind: Traffic(counts[kind], round(sent[kind])) for kind in sorted(counts)}


def _computations(hlo: str) -> dict[str, list[str]]:
    bodies, lines = {}, []
    for line in hlo.splitlines():
        if header := _HEADER.match(line):
            lines = bodies.setdefault(header[1], [])
            if line.startswith("ENTRY"):
                bodies["ENTRY"] = lines
                del bodies[header[1]]
        else:
            lines.append(line)
    return bodies


def _times(bodies: dict[str, list[str]]) -> dict[str, int]:
    """How often each computation runs, at most: callers' times, summed."""
    callers = defaultdict(list)  # callee -> (caller, times)
    for name, lines in bodies.items():
        for line in lines:
            for callee, times in _callees(line, bodies, name):
                callers[callee].append((name, times))
    known = {"ENTRY": 1}

    def of(name: str) -> int:
        if name not in known:
            known[name] = sum(of(caller) * times for caller, times in callers[name])
        return known[name]

    return {name: of(name) for name in bodies}


def _callees(line: str, bodies: dict[str, list[str]], caller: str) -> Iterator[tuple[str, int]]:
    if loop := _WHILE.search(line):
        trips = _TRIPS.search(line)
        rounds = int(trips[1]) if trips else _rounds(bodies, caller, line)
        if rounds is None and _communicates(bodies, loop["body"]):
            raise ValueError(
                f"how often the loop {loop['body']} runs does not stand in the program"
            )
        yield loop["body"], rounds or 0
        yield loop["condition"], 1
        return
    for callee in _named(line):
        yield callee, 1


def _named(line: str) -> list[str]:
    """The computations that a line calls."""
    branches = [several or one for several, one in _BRANCHES.findall(line)]
    names = [*_CALLS.findall(line), *re.findall(r"%[\w.-]+", " ".join(branches))]
    return [name[1:] for name in names]


def _communicates(bodies: dict[str, list[str]], name: str) -> bool:
    """Whether there is a collective in a computation, or in what it calls."""
    lines = bodies[name] if name in bodies else []
    return any(
        _COLLECTIVE.search(line) or any(_communicates(bodies, callee) for callee in _named(line))
        for line in lines
    )


def _rounds(bodies: dict[str, list[str]], caller: str, loop: str) -> int | None:
    """How often a loop runs, by the constants that its counter begins, grows and ends with.

    jax's scans count by 1; a ring that goes both ways at once, by which a product overlaps with
    what it gathers, by 2. None if some of it does not stand there as a constant.
    """
    condition, body = (bodies[name] for name in _WHILE.search(loop).groups())
    compared = _last(condition)
    if "direction=LT" not in compared or len(_operands(compared, "compare")) != 2:
        return None
    less, more = _operands(compared, "compare")
    counter, limit = _place(condition, less), _constant(condition, more)
    initial = _operands(_defined(bodies[caller], _operands(loop, "while")[0]), "tuple")
    results = _operands(_last(body), "tuple")
    if counter is None or limit is None or not initial or not results:
        return None
    first = _constant(bodies[caller], initial[counter])
    grown = _operands(_defined(body, results[counter]), "add")
    steps = [value for name in grown if (value := _constant(body, name))]
    if first is None or len(steps) != 1:
        return None
    return max(0, math.ceil((limit - first) / steps[0]))


def _last(lines: list[str]) -> str:
    return next(line for line in lines if line.lstrip().startswith("ROOT"))


def _place(lines: list[str], name: str) -> int | None:
    """Which element of a tuple a name stands for."""
    found = re.search(r" get-tuple-element\(.*index=(\d+)", _defined(lines, name))
    return int(found[1]) if found else None


def _defined(lines: list[str], name: str) -> str:
    """The line of a computation that defines a name; empty if there is none."""
    starts = (f"{name} = ", f"ROOT {name} = ")
    return next((line for line in lines if line.lstrip().startswith(starts)), "")


def _operands(line: str, operation: str) -> list[str]:
    """The names that an operation is given; none if it is not of the line."""
    return re.findall(r"%[\w.-]+", line.partition(f" {operation}(")[2].partition(")")[0])


def _constant(lines: list[str], name: str) -> int | None:
    """The whole number that a name stands for, itself or as a copy."""
    line = _defined(lines, name)
    if number := re.search(r"= [su]32\[\]\S* constant\((\d+)\)", line):
        return int(number[1])
    copied = _operands(line, "copy")
    return _constant(lines, copied[0]) if copied else None


def _fragment(line: str) -> tuple[str, ...] | None:
    """What the parts of one collective that is spread over fusions have in common."""
    chain, channel = (
        re.search(pattern, line) for pattern in (r'chain_id="(\d+)"', r"channel_id=(\d+)")
    )
    return (chain[1], channel[1]) if chain and channel else None


def _bytes(shapes: str, halved: bool) -> int | float:
    """Of what a collective gives; one that only starts gives its operands beside that."""
    sizes = [
        math.prod(map(int, filter(None, dims.split(",")))) * _width(dtype)
        for dtype, dims in _SHAPE.findall(shapes)
        if not (halved and dtype == "u32" and not dims)
    ]
    return sum(sizes[len(sizes) // 2 :]) if halved else sum(sizes)


def _width(dtype: str) -> int | float:
    return BYTES[dtype] if dtype in BYTES else int(re.search(r"\d+", dtype)[0]) / 8


def _group(line: str, devices: int) -> int:
    """How many devices exchange with each other."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(listed[1].split(","))
    if iota := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(iota[1])
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", mesh[2]))
    return devices


def _wire(kind: str, size: int | float, group: int, whole: bool) -> int | float:
    """Bytes that a device sends, of what the collective gives (reduced and not yet cut: whole)."""
    share = (group - 1) / group
    if kind == "all-reduce":
        return 2 * size * share
    if kind == "reduce-scatter":
        return size * share if whole else size * (group - 1)
    return size if kind == "collective-permute" else size * share
