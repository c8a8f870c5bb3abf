"""What the benchmarks share: timing in turn, the options of simulations, and the report."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ratio:
    """A comparison and the bar it should keep: at least, or at most; None is only shown."""

    name: str
    value: float | None
    """None where there is nothing to compare …"""
    at_least: float | None = None
    at_most: float | None = None
    reason: str | None = None
    """… and why, or what the value holds for."""

    @property
    def bar(self) -> str | None:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else None

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        if self.at_least is not None:
            return bool(self.value >= self.at_least)
        return bool(self.value <= self.at_most) if self.at_most is not None else None


def in_turn(repeats: int, **contenders: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each, run one after the other in every round; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}


def simulation_parser(description: str, replicates: int, seed: int, out: Path) -> argparse.ArgumentParser:
    """The options of a simulation that is resumed; the first line of `description` is its help."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=replicates)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--only", default="", help="run the cells whose name contains this")
    return parser


def report(benchmark: str, seconds: dict[str, float], ratios: list[Ratio]) -> None:
    """A table of times and ratios, and one JSON object as the last line."""
    for name, value in seconds.items():
        print(f"{name:<40}{value * 1000:>12.2f} ms")
    for ratio in ratios:
        verdict = {True: "holds", False: "DOES NOT HOLD", None: ""}[ratio.holds]
        value = "undefined" if ratio.value is None else f"{ratio.value:.3f}"
        words = "; ".join(part for part in (verdict, ratio.reason) if part)
        print(f"{ratio.name:<40}{value:>12}    {ratio.bar or '':<8} {words}")
    shown = {ratio.name: entry(ratio) for ratio in ratios}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": benchmark, "ratios": shown, "machine": machine}))


def entry(ratio: Ratio) -> dict[str, object]:
    """A ratio for the JSON object."""
    value = None if ratio.value is None else round(ratio.value, 4)
    shown: dict[str, object] = {"value": value, "bar": ratio.bar, "holds": ratio.holds}
    return shown | ({"reason": ratio.reason} if ratio.reason else {})
