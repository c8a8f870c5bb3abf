"""Operating points and single models on the experiment page."""

import pandas as pd

from pipeline.core.paths import Artifacts
from tests.reporting.example_pages import experiment, predictions, text_of, write_run


def test_folds_and_seeds_are_shown_each_by_itself_with_their_spparse(config):
    seeds = pd.concat([predictions(seed=seed).assign(seed=seed, label=predictions()["label"]) for seed in range(3)])
    write_run(config, "tiny", seeds)
    text = text_of(experiment(config))
    models = pd.read_csv(Artifacts(config.root).run("made", "tiny").evaluation.models)
    aurocs = models.loc[models["metric"] == "auroc", "value"]
    assert f"AUROCs of seeds range from {aurocs.min():.3f} to {aurocs.max():.3f}" in text
    assert "seed 2, fold 0" in text


def test_what_was_frozen_for_the_mean_of_several_folds_is_called_approximate(config):
    folds = pd.concat([predictions().assign(fold=fold) for fold in range(2)])
    half = folds.groupby("split")["patient_id"].transform(lambda ids: pd.factorize(ids)[0] // 2 % 2)
    write_run(config, "tiny", folds[(folds["split"] == "test") | (half == folds["fold"])])
    text = text_of(experiment(config))
    assert "of the patients of each class; approximate, since each validation patient has one model's" in text
    assert "Fitted on so few patients, they cover between" not in text
    operating = text[text.index("The threshold of each rule was chosen") : text.rindex("Single models")]
    assert operating.count("approximate") == 4
