"""The registry of metrics: one decorated function reports a metric everywhere.

    @METRICS.register("youden_index", title="Youden's index", applies=has_two_classes, interval=Bootstrap((-1, 1)))
    def youden_index(weighted: Weighted) -> Array:
        return sensitivity(weighted) + specificity(weighted) - 1

`metrics.json`, the report, the summary for DVC (`summary=True`) and W&B take the metric from here. The metrics of this
package are registered by the modules of `pipeline.evaluation.metrics`; a module under `plugins` in a config registers
its own in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pipeline.core.registry import Registry
from pipeline.evaluation.sample import Array, Sample, Weighted
from pipeline.evaluation.settings import ORDINAL, Settings
from pipeline.evaluation.uncertainty.methods import AgainstRest, Bootstrap, Interval

MetricFunction = Callable[..., Array]
"""(weighted sample, **settings) -> (R,) one value per resample, NaN where it is undefined."""


def always(sample: Sample, settings: Settings) -> bool:
    return True


def has_two_classes(sample: Sample, settings: Settings) -> bool:
    return sample.is_binary


def has_ordered_classes(sample: Sample, settings: Settings) -> bool:
    return settings.task == ORDINAL and not sample.is_binary


def has_prevalence(sample: Sample, settings: Settings) -> bool:
    return sample.is_binary and settings.prevalence is not None


@dataclass(frozen=True)
class Metric:
    """One metric: what it is called, how it is computed, and where it is reported."""

    name: str
    """Key in metrics.json."""
    fn: MetricFunction
    title: str
    """Shown to readers."""
    interval: Interval = Bootstrap()
    interval_of_several: Interval | None = None
    """With more than two classes; by default the same."""
    applies: Callable[[Sample, Settings], bool] = always
    needs_threshold: bool = False
    """Of two classes: is it undefined without an operating point?"""
    needs_every_class: bool = True
    """Is it undefined where a class has no patients?"""
    ranks: bool = False
    """Does it depend on the order of the scores, which must then vary?"""
    settings: tuple[str, ...] = ()
    """Names of evaluation settings that `fn` takes by keyword."""
    of_class: "ClassMetric | None" = None
    """With more than two classes: the same of each class against the rest, as `<name>_<class>`."""
    one_vs_rest: bool = False
    """Or is it that of two classes, this one and the rest?"""
    averaged: bool = False
    """With several labels per scan: is the mean over the labels reported?"""
    recalibrated: bool = False
    """Is it reported again after calibration (`calibrated_<name>`), and on an external cohort after the intercept was
    refitted (`recalibrated_<name>`)?"""
    shifted: bool = False
    """Or only after the intercept was refitted?"""
    summary: bool = False
    """Is it shown by `dvc metrics show`?"""
    digits: int = 3
    """Decimals that a reader is shown."""

    def bind(self, sample: Sample, settings: Settings) -> "Metric":
        """The metric with its settings filled in and the interval that suits the number of classes."""
        chosen = {name: getattr(settings, name) for name in self.settings}
        bound = replace(self, fn=partial(self.fn, **chosen)) if chosen else self
        if sample.is_binary or self.interval_of_several is None:
            return bound
        # A mean over classes, which every class is needed for.
        return replace(bound, interval=self.interval_of_several, needs_every_class=True)


@dataclass(frozen=True)
class ClassMetric:
    """A metric of class k against the rest: `fn(weighted, k)`, with `interval(k)`."""

    fn: Callable[[Weighted, int], Array]
    interval: Callable[[int], Interval]
    ranks: bool = False
    needs_every_class: bool = True


def against_rest(metric: Metric) -> ClassMetric | None:
    """A metric of two classes as one of class k against the rest; None where it is not meant as one."""
    if not metric.one_vs_rest:
        return None

    def of_class(weighted: Weighted, k: int) -> Array:
        return metric.fn(Weighted(weighted.sample.against_rest(k), weighted.weights))

    return ClassMetric(of_class, partial(AgainstRest, metric.interval), needs_every_class=False)


def make_metric(name: str, fn: MetricFunction, **details: object) -> Metric:
    return Metric(name=name, fn=fn, **details)


METRICS: Registry[Metric] = Registry("metric", make_metric)
INTENDED, WITHOUT_TWINS, USABLE = "intended_", "without_twins_", "usable_share"
AFTER = {
    "recalibrated_": "intercept refitted",
    "calibrated_": "calibrated",
    INTENDED: "failed scans counted as wrong",
    WITHOUT_TWINS: "test patients without a near twin in training",
}
"""Prefixes of metrics that are computed again, and their words in a title."""
DERIVED = {
    "auroc_minimum_detectable_difference": "AUROC, minimum detectable difference",
    "auroc_from": "AUROC, this grade or above",
    "conformal_coverage": "Coverage of conformal sets",
    "conformal_abstention_rate": "Abstention rate of conformal sets",
    "exact_match": "All labels correct",
    USABLE: "Share with a usable scan",
    "net_benefit": "Net benefit",
}
"""Titles of what is derived from other metrics or from fitted sets."""


def select_metrics(sample: Sample, settings: Settings) -> dict[str, Metric]:
    """The metrics that apply, by name, each ready to be computed; those of single classes come last."""
    chosen = [metric for metric in METRICS.entries() if metric.applies(sample, settings)]
    found = {metric.name: metric.bind(sample, settings) for metric in chosen}
    return found if sample.is_binary else found | class_metrics(sample)


def class_metrics(sample: Sample) -> dict[str, Metric]:
    """Each class against the rest."""
    return {
        f"{metric.name}_{name}": Metric(
            name=f"{metric.name}_{name}",
            fn=partial(of_class.fn, k=k),
            title=f"{metric.title}, {name}",
            interval=of_class.interval(k),
            ranks=of_class.ranks,
            needs_every_class=of_class.needs_every_class,
        )
        for k, name in enumerate(sample.class_names)
        for metric in METRICS.entries()
        if (of_class := metric.of_class or against_rest(metric))
    }


def metric_title(name: str) -> str:
    """`calibrated_brier_score` -> `Brier score, calibrated`; `auroc_grade2` -> `AUROC, grade2`."""
    titles = {metric.name: metric.title for metric in METRICS.entries()} | DERIVED
    if name in titles:
        return titles[name]
    for prefix, words in AFTER.items():
        if name.startswith(prefix):
            return f"{metric_title(name.removeprefix(prefix))}, {words}"
    known = max((key for key in titles if name.startswith(f"{key}_")), key=len, default=None)
    return f"{titles[known]}, {name.removeprefix(known + '_')}" if known else name


def metric_digits(name: str) -> int:
    """Decimals of the metric that `name` is derived from."""
    for prefix in AFTER:
        name = name.removeprefix(prefix)
    known = max((key for key in METRICS if name == key or name.startswith(f"{key}_")), key=len, default=None)
    return METRICS.get(known).digits if known else Metric.digits
