"""The probe of this machine against what the network needs at least."""

import numpy as np
import pytest

from pipeline.config import Forecast, Model
from pipeline.models.cost import measure
from pipeline.training.cost_estimate import probe
from tests.imaging.scan_making import make_plan

NOTHING = Forecast(disk_mb=3, memory_mb=0, seconds_per_epoch=0, hours_per_fold=0)


@pytest.mark.slow
def test_a_probe_sees_the_memory_of_training_even_where_this_process_held_as_much_before():
    np.ones(200_000_000)  # An earlier high-water mark of 1.6 GB.
    size = (48, 64, 64)
    cost = measure("poolformer_s12", size)
    weights = 4 * cost.parameters
    least = 4 * weights + 2 * (cost.memory_bytes - weights)
    plan = make_plan(size_voxels=size, batch_size=2, max_epochs=10, forecast=NOTHING)
    found = probe(Model(name="poolformer_s12"), plan, num_scans=20)
    assert least <= 1e6 * found.memory_mb <= 3 * least
    assert found.disk_mb == 3
    assert found.hours_per_fold == pytest.approx(found.seconds_per_epoch * 10 / 3600, abs=0.01)
