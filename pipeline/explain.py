"""Explain: where in the scan the evidence is, for chosen scans of one fold.

Reads   runs/<cohort>/<experiment>/{fold-<k>-seed-<s>/best.ckpt, predictions/fold-<k>-seed-<s>.csv}, raw scans
Writes  runs/<cohort>/<experiment>/explanations/ maps as NIfTI on each scan's own grid, pictures, captions.json
"""

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts


def explain(config: Config) -> None:
    """Draw attribution maps of the most confident right and wrong predictions on the scans' own grids."""
    from pipeline.explanation.run import explain_scans
    from pipeline.imaging.extra_transforms import own_names
    from pipeline.inference.predictor import Predictor, check_same_training

    paths = Artifacts(config.root)
    run = paths.run(config.cohort.name, config.name)
    own = own_names(config.cohort.preprocess.extra)
    trained = Predictor.load(run.training(config.training_key).best, own_transforms=own)
    check_same_training(trained, config, config.training_key)
    explain_scans(
        trained,
        predictions=run.predictions(config.training_key),
        cohort=paths.cohort(config.cohort.name),
        out=run.explanations,
        method=config.explanation.method,
        num_scans=config.explanation.num_scans,
    )


if __name__ == "__main__":
    cli.run(explain)
