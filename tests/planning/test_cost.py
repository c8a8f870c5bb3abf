"""The estimated cost against measured memory and disk space."""

from dataclasses import replace

import pytest

from pipeline.config import Columns
from pipeline.models.cost import measure_cost
from pipeline.planning.cost import CPU, Workload, estimate_cost
from pipeline.planning.planner import make_plan
from pipeline.store.build import preprocess_cohort
from pipeline.store.store import Store
from tests.planning.balls import make_cohort, make_table, write_ball

WORK = Workload(
    model="network_3d",
    num_files=100,
    num_channels=1,
    num_scans=60,
    size_voxels=(48, 64, 64),
    stem_stride=(4, 4, 4),
    batch_size=2,
    max_epochs=50,
)


@pytest.mark.parametrize(
    ("channels", "policy"), [((), "reject"), (("t1", "t2"), "reject"), (("t1", "t2"), "zero")], ids=str
)
def test_the_estimated_disk_space_is_what_the_preprocessed_scans_take(tmp_path, channels, policy):
    raw, store = tmp_path / "raw", Store(tmp_path / "preprocessed")
    raw.mkdir()
    table, splits = make_table(raw, [({"radius_mm": 27.0}, "development")] * 4)
    cohort = make_cohort()
    cohort = cohort.model_copy(
        update={
            "columns": Columns(channels=channels),
            "ingest": cohort.ingest.model_copy(update={"missing_channel": policy}),
        }
    )
    if channels:
        for number in range(4):
            write_ball(raw / f"T{number}.nii.gz", radius_mm=27.0)
        table["path"] = [f"S{number}.nii.gz|T{number}.nii.gz" for number in range(4)]
    plan = make_plan(cohort, table, splits, raw)
    preprocess_cohort(table, raw, plan, store)
    taken = sum(path.stat().st_size for path in store.folder.glob("*.nii"))
    assert plan.cost_estimate.disk_mb == pytest.approx(taken / 1e6, rel=0.1)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_the_estimated_memory_covers_weights_gradients_moments_and_activations(batch_size):
    cost = measure_cost("poolformer_s12", (48, 64, 64))
    weights = 4 * cost.parameters
    least = 4 * weights + batch_size * (cost.memory_bytes - weights)
    assert least <= 1.02e6 * estimate_cost(replace(WORK, batch_size=batch_size), CPU).value.memory_mb <= 2.5 * least


def test_the_cost_of_a_finer_stem_grows_with_its_number_of_tokens():
    coarse, fine = (estimate_cost(replace(WORK, stem_stride=(stride,) * 3), CPU).value for stride in (4, 2))
    assert fine.seconds_per_epoch == pytest.approx(8 * coarse.seconds_per_epoch, rel=0.01)
    assert fine.memory_mb > 2 * coarse.memory_mb


def test_the_cost_estimate_is_for_the_recommended_model():
    costs = {
        model: estimate_cost(replace(WORK, model=model), CPU).value for model in ("network_3d", "lora_2d", "frozen_2d")
    }
    assert costs["frozen_2d"].memory_mb < costs["lora_2d"].memory_mb < costs["network_3d"].memory_mb
    assert costs["frozen_2d"].hours_per_fold == pytest.approx(costs["frozen_2d"].seconds_per_epoch / 3600, abs=0.01)
    assert costs["lora_2d"].hours_per_fold > costs["network_3d"].hours_per_fold
