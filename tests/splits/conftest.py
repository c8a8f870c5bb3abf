"""Label tables as cohort.csv has them."""

import numpy as np
import pandas as pd
import pytest

SITES = ("north", "south", "east")


@pytest.fixture
def patients():
    """A function that makes a table of patients with one to three scans each; patient i is the same in every table."""

    def table(num_patients: int, prevalence: float = 0.35) -> pd.DataFrame:
        rows = []
        for number in range(num_patients):
            rng = np.random.default_rng(number)
            label = "lesion" if rng.random() < prevalence else "healthy"
            for scan in range(rng.integers(1, 4)):
                rows.append(
                    {
                        "scan_id": f"P{number:05d}_{scan}",
                        "patient_id": f"P{number:05d}",
                        "path": f"P{number:05d}_{scan}.nii.gz",
                        "label": label,
                        "site": SITES[number % 3],
                        "age": str(40 + number % 37),
                        "date": f"{2000 + number % 20}-0{1 + scan}-15",
                    }
                )
        return pd.DataFrame(rows)

    return table
