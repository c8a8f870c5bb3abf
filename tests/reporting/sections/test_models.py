"""Operating points and single models on the experiment page."""

import pandas as pd

from pipeline.core.io import write_json
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


def test_members_of_a_stack_are_shown_with_their_weight_and_what_they_add(config):
    write_run(config, "tiny", predictions())
    run = Artifacts(config.root).run("made", "tiny")
    assert "Members of the stack" not in text_of(experiment(config))
    common = {"log_loss": 0.6, "auroc": 0.7, "stack_log_loss": 0.5}
    members = {
        "shape": {"weight": 0.8, "stack_log_loss_without": 0.625, **common},
        "random_conv": {"weight": 0.0, "stack_log_loss_without": None, **common},
    }
    write_json(run.training(config.training_key).best_epoch, {"epoch": 0, "members": members})
    text = text_of(experiment(config))
    table = text[text.index("Means over the trainings") :]
    assert "shape 0.800 0.700 0.600 0.125" in " ".join(table.split())
    assert "random_conv 0.000 0.700 0.600 left out" in " ".join(table.split())
