"""How often the shortcut audit raises an alarm, in cohorts of known truth.

Two hospitals with two scanners each. A patient has a latent severity; the label is severity, with error, above a
threshold. The logit is severity with noise, and where an effect is planted a shift at the second hospital; the network
of each of five folds has its own scale and offset. Hospitals are equal, or differ in prevalence alone (they recruit ill
and healthy patients of one population in other shares), or in severity, which raises the prevalence too or, with a
threshold of its own at each hospital, does not. Strength is in standard deviations: of the logit within a class for a
planted effect, of severity for a difference in severity.

Where severity is stated, the cohort has it with an error. Where scans are acquired again, 40 of them move by the
planted effect; in all other cohorts they move by noise alone.

Writes benchmarks/results/audits.csv, a row per cell; prints a table and, as its last line, JSON. About 40 minutes on
one core of an idle machine.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from sys import path
from typing import Literal

import numpy as np
import pandas as pd

path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import Ratio, report, simulation_parser  # noqa: E402
from pipeline.core.io import write_csv  # noqa: E402
from pipeline.evaluation.audits.shortcut import CASE_MIX, USED, ShortcutContext, audit_shortcut  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "audits.csv"
PATIENTS, STRENGTHS = (100, 200, 400), (0.25, 0.5, 1.0)
REPLICATES, BATCH, NUM_SHUFFLES = 200, 50, 199
FALSE_ALARMS, STANDARD_ERRORS = 0.05, 2.0
DETECTED, ENOUGH = 0.95, 200
FALSE_ALARMS_BAR = f"{FALSE_ALARMS:.0%}, and two standard errors of the number of studies"
DETECTION_BAR = f"of {ENOUGH} patients or more"
PREVALENCE, APART = 0.4, (0.25, 0.55)
"""Of all patients; of each hospital where they differ."""
SLOPE, NOISE, LABEL_ERROR, STATED_ERROR = 1.2, 0.8, 0.5, 0.3
NUM_FOLDS, NUM_REACQUIRED, REACQUIRED_NOISE = 5, 40, 0.3
POPULATION = 200_000
SEED = 30
"""Of the published table; the audit was designed on other seeds."""
KEY, COUNTS = ["cell", "patients"], ["alarm", "case_mix"]

Beside = Literal["nothing", "severity stated", "acquired again"]


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    patients: int
    planted: float = 0.0
    severity: float = 0.0
    """Difference of the hospitals' mean severity."""
    prevalence_differs: bool = False
    beside: Beside = "nothing"
    equal_prevalence: bool = False
    """Has each hospital the threshold that gives it the same prevalence, in spite of another severity?"""

    @property
    def name(self) -> str:
        sites = "prevalence differs" if self.prevalence_differs else "equal"
        if self.severity:
            sites = f"severity differs by {self.severity:g}" + (", equal prevalence" if self.equal_prevalence else "")
        planted = f", planted {self.planted:g}" if self.planted else ""
        return f"{sites}{planted}; {self.beside}"


def cells() -> list[Cell]:
    """The declared design."""
    found = []
    for patients in PATIENTS:
        for beside in ("nothing", "severity stated"):
            found += [Cell(patients, prevalence_differs=differs, beside=beside) for differs in (False, True)]
            found += [Cell(patients, severity=severity, beside=beside) for severity in STRENGTHS]
        found.append(Cell(patients, severity=STRENGTHS[-1], equal_prevalence=True))
        for planted in STRENGTHS:
            found.append(Cell(patients, planted))
            for beside in ("severity stated", "acquired again"):
                found += [Cell(patients, planted, 0.0, differs, beside) for differs in (False, True)]
    return found


def draw_site(cell: Cell, site: int, patients: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Severity (P,) and label (P,) of one hospital's patients."""
    pool = 40 * patients
    severity = rng.normal(size=pool) + cell.severity * (site - 0.5)
    center = cell.severity * (site - 0.5) if cell.equal_prevalence else 0.0
    is_ill = severity - center + LABEL_ERROR * rng.normal(size=pool) > threshold()
    if not cell.prevalence_differs:
        return severity[:patients], is_ill[:patients]
    ill = rng.random(patients) < APART[site]
    chosen = np.empty(patients, dtype=int)
    for label in (False, True):
        chosen[ill == label] = np.flatnonzero(is_ill == label)[: (ill == label).sum()]
    return severity[chosen], is_ill[chosen]


@cache
def threshold() -> float:
    """Severity above which `PREVALENCE` of all patients are ill."""
    rng = np.random.default_rng(0)
    return float(np.quantile(np.hypot(1, LABEL_ERROR) * rng.normal(size=POPULATION), 1 - PREVALENCE))


@cache
def spread() -> float:
    """Standard deviation of the logit within a class, of equal hospitals."""
    rng = np.random.default_rng(0)
    severity = rng.normal(size=POPULATION)
    is_ill = severity + LABEL_ERROR * rng.normal(size=POPULATION) > threshold()
    logits = SLOPE * severity + NOISE * rng.normal(size=POPULATION)
    return float(np.sqrt(np.mean([logits[is_ill == label].var() for label in (False, True)])))


def simulate(cell: Cell, rng: np.random.Generator) -> tuple[pd.DataFrame, ShortcutContext]:
    """One study: a row a patient, and what is known beside it."""
    at_second = rng.random(cell.patients) < 0.5
    severity, is_ill = np.empty(cell.patients), np.empty(cell.patients, dtype=bool)
    for site in (0, 1):
        rows = at_second == bool(site)
        severity[rows], is_ill[rows] = draw_site(cell, site, rows.sum(), rng)
    shift = cell.planted * spread()
    logits = SLOPE * severity + NOISE * rng.normal(size=cell.patients) + shift * at_second
    fold = rng.permutation(cell.patients) % NUM_FOLDS
    scale, offset = rng.uniform(0.7, 1.4, NUM_FOLDS), rng.normal(size=NUM_FOLDS)
    scanner = 2 * at_second + rng.integers(2, size=cell.patients)
    unknown = dict.fromkeys(("acquisition", "file_size", "masked"), np.nan)
    table = {
        "is_positive": is_ill,
        "class": is_ill,
        "part": fold,
        "kind": at_second,
        "logit": logits * scale[fold] + offset[fold],
    }
    stated = pd.DataFrame({"severity": severity + STATED_ERROR * rng.normal(size=cell.patients)})
    return pd.DataFrame(table | unknown), ShortcutContext(
        features=pd.DataFrame(np.column_stack([np.eye(2)[at_second.astype(int)], np.eye(4)[scanner]])),
        severity=stated if cell.beside == "severity stated" else None,
        changed=acquired_again(logits, shift if cell.beside == "acquired again" else 0.0, rng),
    )


def acquired_again(logits: np.ndarray, shift: float, rng: np.random.Generator) -> pd.DataFrame:
    """Logits of some scans as they are and under two simulated acquisitions, one of which may move them."""
    before, noise = logits[:NUM_REACQUIRED], REACQUIRED_NOISE * rng.normal(size=(2, NUM_REACQUIRED))
    return pd.DataFrame({"none": before, "resampled": before + noise[0], "noisier": before + noise[1] + shift})


def run_cell(cell: Cell, numbers: range, seed: int) -> dict[str, object]:
    """How many studies end in an alarm, and in the verdict that case mix leaves open."""
    verdicts = []
    for number in numbers:
        table, beside = simulate(cell, np.random.default_rng([seed, number, cell.patients, *cell.name.encode()]))
        verdicts.append(audit_shortcut(table, {}, beside, NUM_SHUFFLES, number).verdict)
    counts = {"alarm": verdicts.count(USED), "case_mix": verdicts.count(CASE_MIX)}
    return {"cell": cell.name, "patients": cell.patients, **counts, "replicates": len(numbers)}


def finish(path: Path, replicates: int, seed: int, processes: int, only: str) -> pd.DataFrame:
    """Run the studies that the results lack, a batch of every cell in turn; each is written as soon as done."""
    path.parent.mkdir(exist_ok=True)
    columns = [*KEY, *COUNTS, "replicates"]
    done = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=columns)
    chosen = [cell for cell in cells() if only in cell.name]
    with ProcessPoolExecutor(processes) as pool:
        for target in range(BATCH, replicates + 1, BATCH):
            known = done.set_index(KEY)["replicates"]
            starts = [int(known.get((cell.name, cell.patients), 0)) for cell in chosen]
            left = [(cell, range(start, target)) for cell, start in zip(chosen, starts, strict=True) if start < target]
            for row in pool.map(run_cell, *zip(*left, strict=True), [seed] * len(left)) if left else ():
                done = pd.concat([done, pd.DataFrame([row])]).groupby(KEY, sort=False).sum().astype(int).reset_index()
                write_csv(path, done)
            print(f"{target} studies of {len(left)} cells", flush=True)
    names = {cell.name for cell in chosen}
    return done[done["cell"].isin(names)]


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Percentage of alarms, and of the verdict that case mix leaves open, by number of patients."""
    percent = table[COUNTS].div(table["replicates"], axis=0).mul(100).round(1)
    return table[KEY].join(percent).pivot(index="cell", columns="patients", values=COUNTS)


def bars(table: pd.DataFrame) -> list[Ratio]:
    """False alarms, and that detection rises with the planted effect and with the number of patients."""
    rate = table["alarm"] / table["replicates"]
    is_planted = table["cell"].str.contains("planted")
    # Without more evidence there is no alarm at all, be it false or true.
    is_told = ~table["cell"].str.endswith("nothing")
    error = np.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / table["replicates"].min())
    highest = round(FALSE_ALARMS + STANDARD_ERRORS * error, 3)
    told = table[is_planted & is_told]
    words = told["cell"].str.extract(r"(?P<sites>.*), planted (?P<planted>[\d.]+); (?P<beside>.*)")
    by_strength = (
        told.join(words)
        .assign(rate=rate)
        .pivot_table(index=["sites", "beside", "patients"], columns=words["planted"].astype(float), values="rate")
    )
    steps = by_strength.diff(axis=1).iloc[:, 1:]
    strongest = by_strength[by_strength.index.get_level_values("patients") >= ENOUGH].iloc[:, -1]
    return [
        Ratio("highest_false_alarm_rate", float(rate[~is_planted].max()), at_most=highest, reason=FALSE_ALARMS_BAR),
        Ratio("mean_false_alarm_rate", float(rate[~is_planted & is_told].mean()), at_most=FALSE_ALARMS),
        Ratio("smallest_rise_with_the_planted_effect", float(steps.min(axis=None)), at_least=0.0),
        Ratio("detection_of_the_strongest_effect", float(strongest.min()), at_least=DETECTED, reason=DETECTION_BAR),
    ]


def main() -> None:
    asked = simulation_parser(__doc__, REPLICATES, SEED, RESULTS).parse_args()
    table = finish(asked.out, asked.replicates, asked.seed, asked.processes, asked.only)
    print(shares(table).to_string())
    report("audits", {}, bars(table))


if __name__ == "__main__":
    main()
