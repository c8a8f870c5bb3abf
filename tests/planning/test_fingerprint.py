"""Which scans are measured, and their geometry whatever the order of their axes."""

import pandas as pd

from pipeline.planning.fingerprint import choose_scans, read_geometry


def test_at_most_thirty_scans_are_chosen_of_different_patients_first_in_any_order_of_rows():
    table = pd.DataFrame({"scan_id": [f"S{n}" for n in range(80)], "patient_id": [f"P{n // 4}" for n in range(80)]})
    chosen = choose_scans(table)
    assert len(chosen) == 30 and chosen["patient_id"].nunique() == 20
    assert sorted(choose_scans(table[::-1])["scan_id"]) == sorted(chosen["scan_id"])


def test_geometry_is_read_along_right_anterior_superior():
    table = pd.DataFrame({"shape": ["10x20x30"], "spacing_mm": ["1x2x3.5"], "orientation": ["SLP"]})
    assert read_geometry(table).shape.tolist() == [[20, 30, 10]]
    assert read_geometry(table).spacing.tolist() == [[2, 3.5, 1]]
    assert read_geometry(table).along("SPL").spacing.tolist() == [[1, 3.5, 2]]
