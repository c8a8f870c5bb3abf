"""Audit: is the model right for the right reasons? Six questions, each with a verdict in words.

Reads   runs/<cohort>/<experiment>/{predictions/, embeddings/, fold-<k>/best.ckpt}, cohort.csv, splits.csv,
        raw and preprocessed scans
Writes  runs/<cohort>/<experiment>/{audits.json, audit_summary.json, doubtful_labels.csv, changes.csv}
"""

from pipeline import stage
from pipeline.artifacts import SCAN_ID, Artifacts, parse_fold
from pipeline.config import Config


def audit(config: Config) -> None:
    """Audit one experiment: its predictions, its network's stages, and its answers to changed scans."""
    from pipeline.evaluation.audits.auditing import audit_run, write_audits
    from pipeline.evaluation.audits.evidence import Evidence, read_embeddings
    from pipeline.evaluation.settings import MULTILABEL, Settings
    from pipeline.evaluation.tables.background import read_background
    from pipeline.evaluation.tables.predictions import read_folds
    from pipeline.files import write_csv
    from pipeline.inference.changing import predict_changed
    from pipeline.inference.trained import TrainedRun
    from pipeline.scans.store import Store
    from pipeline.scans.summaries import measure_files, summarise_scans

    paths, columns = Artifacts(config.root), config.cohort.columns
    run, cohort = paths.run(config.cohort.name, config.name), paths.cohort(config.cohort.name)
    background = read_background(
        cohort,
        clinical=columns.clinical,
        acquisition=columns.acquisition,
        site=columns.site,
        label_source=columns.label_source,
    )
    settings = Settings(task=config.cohort.task, **config.evaluation.model_dump())
    first, tables = config.folds[0], [run.predictions(fold) for fold in config.folds]
    evidence = Evidence(
        predictions=read_folds(tables, several_labels=settings.task == MULTILABEL),
        background=background,
        summaries=summarise_scans(Store(cohort.preprocessed), background.splits[SCAN_ID]),
        embeddings={fold: read_embeddings(run.embeddings(fold)) for fold in config.folds},
        file_bytes=measure_files(cohort.raw, background.cohort),
        changes=predict_changed(TrainedRun.load(run.fold(first).best), cohort, parse_fold(first)[0]),
    )
    write_csv(run.changes, evidence.changes)
    write_audits(audit_run(evidence, settings), run)


if __name__ == "__main__":
    stage.run(audit)
