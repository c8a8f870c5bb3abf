"""Coverage of every interval that evaluation reports, by simulated studies whose class counts are random.

    python benchmarks/coverage.py                       # all cells, resumed where the results end
    python benchmarks/coverage.py --replicates 200 --out trial.csv --seed 1 --only "three classes"
    python benchmarks/coverage.py --replicates 400 --out trial.csv --metrics ratio skill curve

A cell is a kind of study: number of patients, prevalence, AUROC, one or one to six scans per patient, task. Each
replicate draws a new study and computes all intervals by the functions that `evaluate` uses; the truth is the metric of
a very large sample. An interval holds if its coverage is not shown to be outside 93 to 97.5 % (at least 93 % where
class counts are fixed by the split), given the Monte Carlo error. Where under four fifths of the studies have enough
patients for an interval, those that have them are a selection: they are shown and not tested.

Writes benchmarks/results/coverage.csv, a row per cell and metric; prints a table and, as its last line, JSON.
About half an hour on one core of an idle machine.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from sys import path

import numpy as np
import pandas as pd
from scipy.special import expit, softmax
from scipy.stats import norm

path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import Ratio, report, simulation_parser  # noqa: E402
from pipeline.core.io import write_csv  # noqa: E402
from pipeline.evaluation.calibration_curve import smooth_calibration  # noqa: E402
from pipeline.evaluation.curves import net_benefit, net_benefit_interval  # noqa: E402
from pipeline.evaluation.metrics import select_metrics  # noqa: E402
from pipeline.evaluation.metrics.calibration import logit  # noqa: E402
from pipeline.evaluation.multilabel import label_means  # noqa: E402
from pipeline.evaluation.sample import Sample  # noqa: E402
from pipeline.evaluation.settings import ORDINAL, Settings  # noqa: E402
from pipeline.evaluation.uncertainty.estimates import estimate_metrics  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "coverage.csv"
SETTINGS = Settings(num_bootstrap=400, prevalence=0.05)
NET_BENEFIT_AT = (0.1, 0.2, 0.3, 0.5)
CURVE_AT = (0.25, 0.5, 0.9)
"""Quantiles of the probabilities at which the smooth calibration curve is compared with the truth."""
LOWEST, HIGHEST, STANDARD_ERRORS = 0.93, 0.975, 2.0
POPULATION = 400_000
"""Scans of the sample whose metrics are the truth."""
REPLICATES, MOST_SCANS, SAME_PATIENT = 1000, 6, 0.5
"""`SAME_PATIENT`: correlation of the scores of two scans of one patient."""
NUM_LABELS, MOSTLY_REPORTED = 3, 0.8
BATCH = 100
KEY, COUNTS = ["cell", "metric"], ["reported", "below_truth", "above_truth"]
SEED = 20
"""Of the published table; methods were chosen on other seeds."""

Range = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    task: str
    patients: int
    prevalence: float
    auroc: float
    """Of the positive class; of each class or label where there are more."""
    many_scans: bool = False
    overconfidence: float = 1.0
    """Factor of the logits: 1 is perfectly calibrated."""
    fixed_counts: bool = False
    """Does the split fix the number of patients of each class?"""

    @property
    def name(self) -> str:
        scans = f"1-{MOST_SCANS} scans" if self.many_scans else "1 scan"
        counts = ", fixed counts" if self.fixed_counts else ""
        factor = "" if self.overconfidence == 1 else f", logits x{self.overconfidence:g}"
        rates = f"prevalence {self.prevalence:g}, AUROC {self.auroc:g}"
        return f"{self.task}, n {self.patients}, {rates}, {scans}{factor}{counts}"


def two_classes() -> Iterator[Cell]:
    cell = partial(Cell, "two classes")
    for patients in (60, 100, 200):
        for prevalence, aurocs in ((0.1, (0.7, 0.9)), (0.3, (0.6, 0.8, 0.97)), (0.5, (0.7, 0.9))):
            yield from (cell(patients, prevalence, auroc) for auroc in aurocs)
    yield from (cell(200, 0.1, auroc, overconfidence=1.5) for auroc in (0.6, 0.97))
    yield from (cell(100, 0.3, 0.8, many_scans=scans, overconfidence=1.5) for scans in (False, True))
    yield from (cell(60, 0.5, auroc, many_scans=True) for auroc in (0.6, 0.97))
    yield from (cell(100, prevalence, auroc, many_scans=True) for prevalence, auroc in ((0.3, 0.6), (0.5, 0.9)))
    yield from (cell(200, prevalence, auroc, many_scans=True) for prevalence, auroc in ((0.1, 0.8), (0.3, 0.97)))
    yield from (cell(100, 0.3, auroc, fixed_counts=True) for auroc in (0.7, 0.9))


def cells() -> list[Cell]:
    """The declared design."""
    found = [*two_classes()]
    for task in ("three classes", "grades"):
        found += [Cell(task, 100, 0.5, 0.7), Cell(task, 200, 0.2, 0.8), Cell(task, 200, 0.3, 0.9, many_scans=True)]
    found += [
        Cell("labels", 100, 0.3, 0.7),
        Cell("labels", 200, 0.1, 0.8),
        Cell("labels", 100, 0.3, 0.9, many_scans=True),
    ]
    return found


def draw_patients(cell: Cell, patients: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """(P,) class of each patient and the number of classes; for labels each is drawn by itself elsewhere."""
    if cell.task in ("two classes", "labels"):
        shares = np.array([1 - cell.prevalence, cell.prevalence])
    else:
        # The last class has the stated prevalence, the others share the rest.
        shares = np.array([(1 - cell.prevalence) / 2, (1 - cell.prevalence) / 2, cell.prevalence])
    if cell.fixed_counts:
        counts = np.round(shares * patients).astype(int)
        return np.repeat(np.arange(len(shares)), counts), len(shares)
    return rng.choice(len(shares), size=patients, p=shares), len(shares)


def scans_of(cell: Cell, patients: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) patient of each scan."""
    counts = rng.integers(1, MOST_SCANS + 1, size=patients) if cell.many_scans else np.ones(patients, dtype=int)
    return np.repeat(np.arange(patients), counts)


def noise(owners: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """(n, width) standard normal, correlated within patients."""
    shared = rng.normal(size=(owners.max() + 1, width))[owners]
    return np.sqrt(SAME_PATIENT) * shared + np.sqrt(1 - SAME_PATIENT) * rng.normal(size=(len(owners), width))


def draw_samples(cell: Cell, patients: int, rng: np.random.Generator) -> list[Sample]:
    """One study; several labels are a sample each."""
    owners = scans_of(cell, patients, rng)
    distance = np.sqrt(2) * norm.ppf(cell.auroc)
    if cell.task == "two classes":
        labels = draw_patients(cell, patients, rng)[0]
        return [binary_sample(cell, labels, owners, distance, noise(owners, 1, rng)[:, 0])]
    if cell.task == "labels":
        # Labels of a patient are correlated: one cause may show several.
        latent = np.sqrt(0.3) * rng.normal(size=(patients, 1)) + np.sqrt(0.7) * rng.normal(size=(patients, NUM_LABELS))
        present = (latent < norm.ppf(cell.prevalence)).astype(int)
        errors = noise(owners, NUM_LABELS, rng)
        return [binary_sample(cell, present[:, k], owners, distance, errors[:, k]) for k in range(NUM_LABELS)]
    labels, num_classes = draw_patients(cell, patients, rng)
    means = distance * np.eye(num_classes) if cell.task == "three classes" else ordered_means(distance, num_classes)
    scores = noise(owners, num_classes, rng) + means[labels[owners]]
    shares = np.array([(1 - cell.prevalence) / 2, (1 - cell.prevalence) / 2, cell.prevalence])
    logits = np.log(shares) + scores @ means.T - (means**2).sum(1) / 2
    probs = softmax(cell.overconfidence * logits, axis=1)
    return [Sample(labels[owners], probs, owners, owners * 0, tuple("abc"))]


def ordered_means(distance: float, num_classes: int) -> np.ndarray:
    """(K, K) of grades along one line."""
    means = np.zeros((num_classes, num_classes))
    means[:, 0] = distance * np.arange(num_classes)
    return means


def binary_sample(cell: Cell, labels: np.ndarray, owners: np.ndarray, distance: float, errors: np.ndarray) -> Sample:
    """Probabilities that are calibrated but for the factor; the threshold is the prevalence."""
    scores = errors + distance * labels[owners]
    logits = np.log(cell.prevalence / (1 - cell.prevalence)) + distance * scores - distance**2 / 2
    probs = expit(cell.overconfidence * logits)
    both = np.stack([1 - probs, probs], axis=1)
    return Sample(labels[owners], both, owners, owners * 0, ("no", "yes"), cell.prevalence)


def settings_of(cell: Cell) -> Settings:
    return replace(SETTINGS, task=ORDINAL) if cell.task == "grades" else SETTINGS


def intervals(cell: Cell, samples: list[Sample], words: tuple[str, ...] = ()) -> dict[str, Range]:
    """(value, low, high) of every metric that evaluation reports, or of those whose name has one of the words."""
    settings, sample = settings_of(cell), samples[0]
    if len(samples) > 1:
        entries = {
            str(k): {name: found.entry() for name, found in estimates(own, settings).items()}
            for k, own in enumerate(samples)
        }
        found = {f"mean {name}": each for name, each in label_means(samples, entries, settings).items()}
        return {name: (each.value, each.low, each.high) for name, each in found.items()}
    found = {name: (each.value, each.low, each.high) for name, each in estimates(sample, settings, words).items()}
    if sample.is_binary:
        for threshold in NET_BENEFIT_AT:
            treated = sample.probs[:, 1] >= threshold
            bounds = net_benefit_interval(sample, treated, threshold, settings)
            found[f"net benefit at {threshold:g}"] = (net_benefit(sample, treated, threshold), *bounds)
        curve = smooth_calibration(sample, curve_points(cell), settings.confidence)
        if not isinstance(curve, str):
            bounds = curve[["observed", "low", "high"]].to_numpy()
            found |= {
                f"calibration curve at quantile {at:g}": tuple(row) for at, row in zip(CURVE_AT, bounds, strict=True)
            }
    return found


@cache
def curve_points(cell: Cell) -> np.ndarray:
    """Probabilities at which the calibration curve is known: the true one there has the factor taken away."""
    large = replace(cell, many_scans=False, fixed_counts=False)
    (sample,) = draw_samples(large, POPULATION, np.random.default_rng(0))
    return np.quantile(sample.probs[:, 1], CURVE_AT)


def estimates(sample: Sample, settings: Settings, words: tuple[str, ...] = ()) -> dict:
    metrics = select_metrics(sample, settings)
    chosen = {name: metric for name, metric in metrics.items() if not words or any(word in name for word in words)}
    return estimate_metrics(sample, chosen, settings)


@cache
def true_values(cell: Cell) -> dict[str, float]:
    """The metrics of a population with one scan per patient, which has the same distribution of scans."""
    rng = np.random.default_rng(0)
    large = replace(cell, many_scans=False, fixed_counts=False)
    samples, settings = draw_samples(large, POPULATION, rng), settings_of(cell)
    by_sample = [
        {name: float(metric.fn(sample.weighted())[0]) for name, metric in select_metrics(sample, settings).items()}
        for sample in samples
    ]
    if len(samples) > 1:
        found = {f"mean {name}": float(np.mean([own[name] for own in by_sample])) for name in by_sample[0]}
        correct = np.all([sample.preds == sample.labels for sample in samples], axis=0)
        return found | {"mean exact_match": float(correct.mean())}
    found, sample = by_sample[0], samples[0]
    if sample.is_binary:
        for threshold in NET_BENEFIT_AT:
            found[f"net benefit at {threshold:g}"] = net_benefit(sample, sample.probs[:, 1] >= threshold, threshold)
        true_curve = expit(logit(curve_points(cell)) / cell.overconfidence)
        found |= {
            f"calibration curve at quantile {at:g}": value for at, value in zip(CURVE_AT, true_curve, strict=True)
        }
    return found


def run_cell(cell: Cell, numbers: range, seed: int, words: tuple[str, ...] = ()) -> pd.DataFrame:
    """A row per metric: studies that report it, and those whose interval is below or above the truth."""
    truth = true_values(cell)
    counts: dict[str, np.ndarray] = {}
    for number in numbers:
        rng = np.random.default_rng([seed, number, *cell.name.encode()])
        for name, (_, low, high) in intervals(cell, draw_samples(cell, cell.patients, rng), words).items():
            if low is not None and np.isfinite(low):
                missed = np.array([1, high < truth[name], low > truth[name]])
                counts[name] = counts.get(name, np.zeros(3, dtype=int)) + missed
    rows = [(cell.name, name, *each) for name, each in counts.items()]
    return pd.DataFrame(rows, columns=[*KEY, *COUNTS]).assign(replicates=numbers.stop)


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """The coverage of each row, and whether it is within what the number of studies allows of the bounds."""
    coverage = 1 - (table["below_truth"] + table["above_truth"]) / table["reported"]
    highest = np.where(table["cell"].str.contains("fixed counts"), 1.0, HIGHEST)
    lower, upper = (STANDARD_ERRORS * error_at(bound, table["reported"]) for bound in (LOWEST, highest))
    is_tested = table["reported"] >= MOSTLY_REPORTED * table["replicates"]
    holds = (coverage >= LOWEST - lower) & (coverage <= highest + upper)
    return table.assign(coverage=coverage.round(4), is_tested=is_tested, holds=holds | ~is_tested)


def error_at(coverage: np.ndarray | float, studies: pd.Series) -> pd.Series:
    """Monte Carlo standard error of a coverage."""
    return np.sqrt(coverage * (1 - coverage) / studies)


def by_metric(tested: pd.DataFrame) -> pd.DataFrame:
    """Coverage over the cells, by metric; those of single classes and means over labels count as the metric."""
    metric = tested["metric"].str.replace(r"^mean |_[abc]$", "", regex=True).rename("metric")
    grouped = tested.assign(hits=tested["reported"] - tested["below_truth"] - tested["above_truth"]).groupby(metric)
    found = grouped["coverage"].agg(["count", "min", "median", "max"])
    return found.assign(pooled=grouped["hits"].sum() / grouped["reported"].sum()).round(3)


def finish(path: Path, replicates: int, seed: int, processes: int, only: str, words: tuple[str, ...]) -> pd.DataFrame:
    """Run the studies that the results lack, a batch of every cell in turn; each batch is written as soon as done."""
    path.parent.mkdir(exist_ok=True)
    done = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=[*KEY, *COUNTS, "replicates"])
    chosen = [cell for cell in cells() if only in cell.name]
    with ProcessPoolExecutor(processes) as pool:
        for target in range(BATCH, replicates + 1, BATCH):
            known = done.groupby("cell")["replicates"].max()
            left = [cell for cell in chosen if known.get(cell.name, 0) < target]
            numbers = [range(int(known.get(cell.name, 0)), target) for cell in left]
            for found in pool.map(run_cell, left, numbers, [seed] * len(left), [words] * len(left)):
                done = add(done, found)
                write_csv(path, done)
            print(f"{target} studies of {len(left)} cells", flush=True)
    return done[done["cell"].isin({cell.name for cell in chosen})]


def add(done: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The counts of both."""
    summed = pd.concat([done, found]).groupby(KEY, sort=False)[COUNTS].sum().astype(int).reset_index()
    known = done.groupby("cell")["replicates"].max().to_dict()
    return summed.assign(replicates=summed["cell"].map(known | found.groupby("cell")["replicates"].max().to_dict()))


def main() -> None:
    parser = simulation_parser(__doc__, REPLICATES, SEED, RESULTS)
    parser.add_argument("--metrics", nargs="*", default=[], help="only metrics whose name has one of these words")
    asked = parser.parse_args()
    table = judge(finish(asked.out, asked.replicates, asked.seed, asked.processes, asked.only, tuple(asked.metrics)))
    tested = table[table["is_tested"].astype(bool)]
    print(by_metric(tested).to_string())
    failed = tested[~tested["holds"].astype(bool)]
    if len(failed):
        print(failed.to_string(index=False))
    held = 1 - len(failed) / len(tested)
    report("coverage", {}, [Ratio("share_of_intervals_that_hold", held, at_least=1.0)])


if __name__ == "__main__":
    main()
