"""Ordered classes: every cut between two grades is a question with two answers."""

from pipeline.evaluation.precision.catalogue import ranking_metrics
from pipeline.evaluation.precision.estimates import Estimate, estimate_metrics
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Sample, from_positive


def cut(sample: Sample, grade: int) -> Sample:
    """`grade` or above, against what is below."""
    names = (f"below {sample.class_names[grade]}", f"{sample.class_names[grade]} or above")
    return from_positive(sample, sample.labels >= grade, sample.probs[:, grade:].sum(1), names)


def judge_cuts(sample: Sample, settings: Settings) -> dict[str, Estimate]:
    """AUROC of each cut, as `auroc_from_<grade>`."""
    auroc = {"auroc": ranking_metrics(ranked_class=1)["auroc"]}
    return {
        f"auroc_from_{sample.class_names[grade]}": estimate_metrics(cut(sample, grade), auroc, settings)["auroc"]
        for grade in range(1, sample.num_classes)
    }
