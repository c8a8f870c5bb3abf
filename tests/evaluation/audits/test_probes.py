import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.audits.probes import probe_map


def test_a_probe_is_a_ridge_regression_on_standardised_features():
    rng = np.random.default_rng(0)
    seen, judged, labels = rng.normal(size=(30, 50)), rng.normal(3, 2, size=(9, 50)), rng.integers(2, size=30)
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=50.0)).fit(seen, labels)
    assert np.allclose(probe_map(seen, judged) @ labels + labels.mean(), ridge.predict(judged))


def test_a_feature_that_does_not_vary_among_the_seen_says_nothing():
    rng = np.random.default_rng(1)
    seen, judged = rng.normal(size=(20, 4)), rng.normal(size=(5, 4))
    constant = [np.hstack([rows, np.full((len(rows), 1), value)]) for rows, value in ((seen, 7.0), (judged, -7.0))]
    assert np.allclose(probe_map(*constant), probe_map(seen, judged))
