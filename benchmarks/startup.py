"""What starting costs, in CPU seconds of whole processes run in turn.

`train` must import torch, lightning and monai; the bar says how much the rest of this package and its dependencies may
add. Stages without a network, help and errors in a config must not wait for torch at all.

Run: python -m benchmarks.startup
"""

import ast
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import Ratio, report

REPEATS = 3
BARE = "import torch, lightning, monai"
PACKAGE = Path(__file__).resolve().parent.parent / "pipeline"
WITHOUT_NETWORK = ("ingest", "split", "evaluate", "report", "runs", "compare")
"""Stages and tools that never import torch."""


def imports_of(stage: str) -> str:
    """The import statements of a stage's module and of its functions, but not of its sub-commands, as one program."""
    tree = ast.parse((PACKAGE / f"{stage}.py").read_text())
    left_out = [
        block for block in ast.walk(tree) if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
    ]
    left_out += [function for function in tree.body if getattr(function, "name", None) in subcommands(tree)]
    skipped = {id(node) for block in left_out for node in ast.walk(block)}
    found = [
        node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in skipped
    ]
    return "\n".join(ast.unparse(node) for node in found)


def subcommands(tree: ast.Module) -> set[str]:
    """Names of the functions that `cli.run(stage, name=function)` gets by keyword."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "cli.run")
    return {ast.unparse(keyword.value) for call in calls for keyword in call.keywords}


def cpu_seconds(command: list[str], expected: int = 0) -> float:
    """User and system time of a command that ends with the exit code `expected`."""
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode != expected:
        raise RuntimeError(f"{command}: expected exit code {expected}, got {done.returncode}: {done.stderr[-500:]}")
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    commands = {
        "bare": ([sys.executable, "-c", BARE], 0),
        "train": ([sys.executable, "-c", imports_of("train")], 0),
        "help": ([sys.executable, "-m", "pipeline.train", "--help"], 0),
        "typo": ([sys.executable, "-m", "pipeline.train", "training.max_epoch=1"], 1),
        **{stage: ([sys.executable, "-c", imports_of(stage)], 0) for stage in WITHOUT_NETWORK},
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS + 1):
        for name, (command, expected) in commands.items():
            taken[name].append(cpu_seconds(command, expected))
    seconds = {name: statistics.median(values[1:]) for name, values in taken.items()}
    ratio = {name: value / seconds["bare"] for name, value in seconds.items()}
    ratios = [
        Ratio("train_vs_bare_imports", ratio["train"], at_most=1.15),
        *(Ratio(f"{name}_vs_bare_imports", ratio[name], at_most=0.25) for name in ("help", "typo")),
        *(Ratio(f"{name}_vs_bare_imports", ratio[name], at_most=0.5) for name in WITHOUT_NETWORK),
    ]
    report("startup", seconds, ratios)


if __name__ == "__main__":
    main()
