"""Audit: is the model right for the right reasons? Six questions, each with a verdict in words.

Reads   runs/<cohort>/<experiment>/{predictions/, embeddings/, fold-<k>-seed-<s>/best.ckpt}, cohort.csv, splits.csv,
        raw and preprocessed scans
Writes  runs/<cohort>/<experiment>/{audits/, audit_summary.json}
"""

import logging

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.columns import SCAN_ID
from pipeline.core.paths import Artifacts

log = logging.getLogger(__name__)


def audit(config: Config) -> None:
    """Audit one experiment: its predictions, its network's stages, and its answers to changed scans."""
    from pipeline.core.io import write_csv
    from pipeline.evaluation.audits.evidence import Evidence, read_embeddings
    from pipeline.evaluation.audits.run import audit_run, write_audits
    from pipeline.evaluation.inputs import read_inputs
    from pipeline.inference.perturbations import predict_perturbed
    from pipeline.inference.predictor import Predictor, check_compatible
    from pipeline.store.simple_features import measure_files, summarize_scans
    from pipeline.store.store import Store

    paths, inputs = Artifacts(config.root), read_inputs(config)
    run, cohort = paths.run(config.cohort.name, config.name), paths.cohort(config.cohort.name)
    first = config.training_keys[0]
    trained = Predictor.load(run.training(first).best)
    check_compatible(trained, config, cohort, first)
    evidence = Evidence(
        predictions=inputs.predictions,
        covariates=inputs.covariates,
        summaries=summarize_scans(Store(cohort.preprocessed), inputs.covariates.splits[SCAN_ID]),
        embeddings={key: read_embeddings(run.embeddings(key)) for key in config.training_keys},
        file_bytes=measure_files(cohort.raw, inputs.covariates.cohort),
        changes=predict_perturbed(trained, cohort, first.fold),
        changes_key=first,
    )
    write_csv(run.changes, evidence.changes)
    audits = audit_run(evidence, inputs.settings)
    write_audits(audits, run)
    alarms = [name for name, finding in audits.findings.items() if finding.is_alarm]
    log.info("audit: %d of %d audits raise an alarm: %s; %s", len(alarms), len(audits.findings), alarms, run.audits)


if __name__ == "__main__":
    cli.run(audit)
