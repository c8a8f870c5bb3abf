"""Time training steps against a plain PyTorch loop, and whole trainings against the same ones written with MONAI.

    HIPPOCAMPUS=/path/to/hippocampus python benchmarks/training.py

Takes about half an hour on two cores, on one fold of `hippocampus`. Steps are those of the 3D PoolFormer-S12 on the
same batches: here with all that a training keeps and logs, and, before each of them, in a loop without any framework.
What W&B adds to a step is `benchmarks/tracking.py`'s figure.

Against MONAI all start at raw scans and train the same PoolFormer from the same weights, with the same optimizer
settings, schedule and strength of augmentation, once a seed. Written with MONAI it is made of torch's stock layers; a
third side borrows this pipeline's layers, so that what they bring is seen apart from the rest. Compared are the time to
the end of a fixed number of epochs and that to a fixed validation AUROC: by the mean course over the seeds, which has a
bar, and as each training waits for it by itself. Heavy libraries are imported late, since worker processes import this
file too. Prints a table and, as its last line, one JSON object.
"""

import logging
import os
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))
SETTINGS = ["cohort=hippocampus", "tracking.mode=none", "training.max_epochs=5"]
SETTINGS += ["cohort.split.test_fraction=0.1", "cohort.split.num_folds=3"]
"""78 scans validate: with fewer, the epoch in which an AUROC is reached is luck."""


def main() -> None:
    from benchmarks import tracking
    from benchmarks.from_raw import all_from_raw, ratios_of, seconds_of
    from benchmarks.steps import seconds_a_step
    from benchmarks.timing import Ratio, report
    from pipeline.config import Plan
    from pipeline.config.load import load_config, load_yaml
    from pipeline.core.paths import Artifacts
    from pipeline.fetch import fetch
    from pipeline.ingest import ingest
    from pipeline.plan import plan as make_plan
    from pipeline.preprocess import preprocess
    from pipeline.split import split
    from pipeline.training.auto import resolve_auto
    from pipeline.training.fold_data import load_fold

    warnings.simplefilter("ignore")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("pipeline.training.trainer").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(REPOSITORY)
        config = load_config("3d_poolformer", [*SETTINGS, f"root={folder}"])
        for verb in (fetch, ingest, split, make_plan, preprocess):
            verb(config)
        paths = Artifacts(config.root).cohort(config.cohort.name)
        plan = load_yaml(Plan, paths.plan)
        config = resolve_auto(config, plan)
        fold = load_fold(config, paths)
        steps = seconds_a_step(config, fold)
        trainings = all_from_raw(config, plan, fold)
    here, plain = (statistics.median(side) for side in zip(*steps, strict=True))
    overhead = Ratio("overhead_per_step", statistics.median(a / b for a, b in steps) - 1, at_most=0.05)
    added, tracked = tracking.time_tracking()
    ratios = [overhead, tracked, *ratios_of(trainings)]
    told = {"step": here, "step_plain_loop": plain, "added_by_tracking": added["added_by_tracking"]}
    report("training", told | seconds_of(trainings), ratios)


if __name__ == "__main__":
    main()
