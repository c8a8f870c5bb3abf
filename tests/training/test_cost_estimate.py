"""The cost estimate of this machine against the least that the network needs."""

import numpy as np
import pytest

from pipeline.config import CostEstimate, Model
from pipeline.models.cost import measure_cost
from pipeline.training.cost_estimate import estimate_cost
from tests.imaging.scan_making import make_plan

NOTHING = CostEstimate(disk_mb=3, memory_mb=0, seconds_per_epoch=0, hours_per_fold=0)


@pytest.mark.slow
def test_the_estimate_sees_the_memory_of_training_after_an_earlier_peak_in_this_process():
    np.ones(200_000_000)  # An earlier high-water mark of 1.6 GB.
    size = (48, 64, 64)
    cost = measure_cost("poolformer_s12", size)
    weights = 4 * cost.parameters
    least = 4 * weights + 2 * (cost.memory_bytes - weights)
    plan = make_plan(size_voxels=size, batch_size=2, max_epochs=10, cost_estimate=NOTHING)
    found = estimate_cost(Model(name="poolformer_s12"), plan, num_scans=20)
    assert least <= 1e6 * found.memory_mb <= 3 * least
    assert found.disk_mb == 3
    assert found.hours_per_fold == pytest.approx(found.seconds_per_epoch * 10 / 3600, abs=0.01)
