"""The similarity of two scans after a fit."""

from pipeline.splits.near_duplicates.descriptors import IDENTITY
from pipeline.splits.near_duplicates.similarity import find_shared_components, fitted_similarity
from tests.splits.phantoms import descriptors_of, head


def test_fitting_undoes_a_shift_of_the_frame():
    volumes = [head(person) for person in range(12)]
    cut = volumes[3][6:, :, 3:]
    descriptors = descriptors_of([*volumes, cut])
    shared = find_shared_components(descriptors_of(volumes))
    assert fitted_similarity(descriptors, shared, 3, 12, IDENTITY) > 0.95
    assert fitted_similarity(descriptors, shared, 4, 12, IDENTITY) < 0.7
