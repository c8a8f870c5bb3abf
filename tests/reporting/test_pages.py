"""The pages as a reader gets them, made from files through the public functions."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.artifacts import Artifacts
from pipeline.config import Config
from pipeline.evaluation.evaluating import evaluate_table
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tasks import evaluate_task
from pipeline.evaluation.writing import write_evaluation
from pipeline.files import write_text, write_yaml
from pipeline.reporting.experiment_page import experiment_html
from pipeline.reporting.gathering import gather_cohort, gather_run
from pipeline.reporting.index_page import index_html

VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect", "line", "circle"}
NASTY = "<script>alert(1)</script>"


class Balanced(HTMLParser):
    """Collects text, and fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html: str) -> Balanced:
    page = Balanced()
    page.feed(html)
    assert page.open == []
    return page


def words(html: str) -> str:
    return " ".join(" ".join(read(html).text).split())


def predictions(signal: float = 1.5, seed: int = 0, patients: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for split in ("val", "test"):
        for number in range(patients):
            truth = number % 3 == 0
            prob = 1 / (1 + np.exp(-(signal * (truth - 0.5) + rng.normal())))
            name = f"{split}{number}"
            rows.append([f"s-{name}", f"p-{name}", 0, split, "disease" if truth else "healthy", 1 - prob, prob])
    return pd.DataFrame(rows, columns="scan_id patient_id fold split label prob_healthy prob_disease".split())


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "name": "tiny",
            "root": tmp_path,
            "experiments": ["tiny", "other"],
            "model": {"name": "poolformer_s12"},
            "cohort": {
                "name": "made",
                "source": {"kind": "phantom"},
                "columns": {"clinical": ["age"], "site": "site"},
                "positive_class": "disease",
                "modality": "MR",
                "laterality": "relevant",
            },
        }
    )


def write_run(config: Config, name: str, table: pd.DataFrame) -> None:
    paths = Artifacts(config.root).run("made", name)
    write_text(paths.predictions(0), table.to_csv(index=False))
    write_evaluation(evaluate_table(table, Settings(num_bootstrap=200)), paths)


def experiment(config: Config, name: str = "tiny") -> str:
    paths = Artifacts(config.root)
    return experiment_html(gather_run(name, paths.run("made", name), (0,)), gather_cohort(paths.cohort("made")), config)


def write_cohort(config: Config, table: pd.DataFrame, site: str = "north") -> None:
    paths = Artifacts(config.root).cohort("made")
    scans = table[["scan_id", "patient_id", "label"]].assign(path="x.nii.gz", age=np.arange(len(table)) % 50, site=site)
    write_text(paths.cohort, scans.to_csv(index=False))
    splits = table[["scan_id", "patient_id", "label"]].assign(
        split=np.where(table["split"] == "test", "test", "development"),
        fold=np.where(table["split"] == "test", "", "0"),
    )
    write_text(paths.splits, splits.to_csv(index=False))
    flow = [
        {"step": "rows in the label table", "scans": 121, "patients": 121},
        {"step": "excluded: TRUNCATED", "scans": 1, "patients": 1},
    ]
    write_text(paths.ingest, json.dumps({"classes": ["healthy", "disease"], "problems": [], "flow": flow}))
    write_text(paths.leakage, json.dumps({"verdict": "clean", "findings": []}))
    write_yaml(paths.plan, {"orientation": "SPL", "reasons": {"orientation": "axial view"}})


def test_a_page_of_metrics_alone_says_what_is_missing(config):
    write_run(config, "tiny", predictions())
    text = words(experiment(config))
    for verb in ("explain", "ingest", "plan", "train"):
        assert f"'python -m pipeline.{verb}'" in text


def test_the_headline_is_per_patient_with_interval_and_number(config):
    write_run(config, "tiny", predictions())
    metrics = json.loads(Artifacts(config.root).run("made", "tiny").metrics.read_text())
    auroc = metrics["test"]["patient"]["auroc"]
    text = words(experiment(config))
    assert f"AUROC {auroc['value']:.3f} {auroc['low']:.3f} to {auroc['high']:.3f} 60 patients" in text
    assert "60 patients, 40 healthy, 20 disease" in text


def test_everything_known_is_shown(config):
    table = predictions()
    write_run(config, "tiny", table)
    write_cohort(config, table)
    run = Artifacts(config.root).run("made", "tiny")
    epochs = np.arange(5)
    history = pd.DataFrame({"epoch": epochs, "train_loss": 1.0, "val_loss": 1.0, "val_auroc": 0.6})
    write_text(run.fold(0).history, history.to_csv(index=False))
    source = {"kind": "folder", "scans": "/home/somebody/scans", "table": "~/somebody.csv"}
    used = {"name": "tiny", "model": {"name": "poolformer_s12"}, "root": "/home/somebody", "cohort": {"source": source}}
    write_yaml(run.fold(0).config, used)
    html = experiment(config)
    text = words(html)
    for phrase in (
        "121 scans",
        "excluded: TRUNCATED",
        "axial view",
        "No leak between splits",
        "validation AUROC",
        "name: tiny",
    ):
        assert phrase in text
    assert "somebody" not in html
    assert html.count("<svg") == 8
    assert "Not available: explanation maps" in text


def test_groups_are_shown_with_their_figure_and_small_ones_counted(config):
    write_run(config, "tiny", predictions())
    write_text(
        Artifacts(config.root).run("made", "tiny").subgroups,
        "covariate,group,num_patients,auroc,low,high,p_value,adjusted_p_value,reason\n"
        "site,north,40,0.9,0.8,0.95,0.001,0.002,\nsite,south,40,0.6,0.5,0.7,0.001,0.002,\n"
        "site,west,4,,,,0.001,0.002,4 patients\n",
    )
    text = words(experiment(config))
    assert "The AUROC differs between groups of site. 1 groups have too few patients to judge." in text
    assert "site north 40 0.900 0.800 to 0.950 0.002" in text


def test_a_shortcut_that_acquisition_offers_is_said_aloud(config):
    write_run(config, "tiny", predictions())
    write_text(
        Artifacts(config.root).run("made", "tiny").floors,
        "name,columns,num_patients,auroc,low,high,advantage,advantage_low,advantage_high,reason\n"
        "clinical covariates,,60,,,,,,,no column has this role\n"
        "acquisition,site,60,0.8,0.7,0.9,0.05,-0.05,0.15,\n",
    )
    text = words(experiment(config))
    assert "a shortcut is available to the model" in text
    assert "no column has this role" in text


def test_text_from_data_is_escaped(config):
    table = predictions().replace({"label": {"disease": NASTY}}).rename(columns={"prob_disease": f"prob_{NASTY}"})
    write_run(config, "tiny", table)
    write_cohort(config, table, site=NASTY)
    run = Artifacts(config.root).run("made", "tiny")
    caption = {
        "picture": "../../x.png",
        "map": "x.nii.gz",
        "scan_id": NASTY,
        "label": NASTY,
        "predicted": NASTY,
        "probability": 0.9,
        "method": "gradcam",
        "explained": "lesion",
    }
    write_text(run.explanations / "captions.json", json.dumps([caption]))
    html = experiment(config)
    assert "<script" not in html
    assert words(html).count(NASTY) > 3


def test_the_page_needs_nothing_else(config):
    write_run(config, "tiny", predictions())
    write_run(config, "other", predictions(seed=1))
    for link in read(experiment(config)).links + read(index(config)).links:
        assert link.startswith(("#", "data:")) or link in ("index.html", "cohort.html", "tiny.html", "other.html")


def test_a_picture_is_carried_in_the_page_and_a_lost_one_is_said(config):
    write_run(config, "tiny", predictions())
    folder = Artifacts(config.root).run("made", "tiny").explanations
    entries = [
        {
            "picture": name,
            "map": "m.nii.gz",
            "scan_id": name,
            "label": "disease",
            "predicted": "healthy",
            "probability": 0.9,
            "method": "gradcam",
            "explained": "lesion",
        }
        for name in ("there.png", "lost.png")
    ]
    write_text(folder / "captions.json", json.dumps(entries))
    (folder / "there.png").write_bytes(b"\x89PNG")
    html = experiment(config)
    assert "data:image/png;base64,iVBORw==" in html
    assert "Not available: the picture of this scan" in words(html)
    assert "truly disease (wrong)" in words(html)


def test_a_model_that_guesses_is_told_so(config):
    write_run(config, "tiny", predictions(signal=0.0, seed=2))
    text = words(experiment(config))
    assert "Not shown to beat chance" in text


def test_accuracy_below_the_floor_is_said_aloud(config):
    table = predictions(signal=0.2)
    write_run(config, "tiny", table)
    entries = json.loads(Artifacts(config.root).run("made", "tiny").metrics.read_text())["test"]["patient"]
    assert entries["accuracy"]["value"] < entries["majority_floor"]["value"]
    assert "Accuracy is below the floor" in words(experiment(config))


def test_validation_alone_is_said_to_flatter(config):
    table = predictions()
    write_run(config, "tiny", table[table["split"] == "val"])
    assert "No test set was predicted" in words(experiment(config))


def test_several_classes_get_a_page(config):
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    probs = rng.dirichlet(np.ones(3), size=90) / 2 + np.eye(3)[truth] / 2
    table = pd.DataFrame(
        {
            "scan_id": np.arange(90).astype(str),
            "patient_id": np.arange(90).astype(str),
            "label": np.array(["one", "two", "three"])[truth],
            **{f"prob_{name}": probs[:, k] for k, name in enumerate(["one", "two", "three"])},
        }
    )
    write_run(config, "tiny", table)
    text = words(experiment(config))
    assert "AUROC, three" in text
    assert "with several classes the most probable one is called" in text


def test_several_labels_a_scan_get_a_page_with_a_threshold_each(config):
    table = predictions().rename(columns={"prob_healthy": "prob_cyst"}).replace({"label": {"healthy": "cyst"}})
    table.loc[::3, "label"] = "cyst;disease"
    paths = Artifacts(config.root).run("made", "tiny")
    settings = Settings(task="multilabel", num_bootstrap=100)
    write_evaluation(evaluate_task(table, settings), paths)
    text = words(experiment(config))
    assert "cyst: The positive class is called from a probability of" in text
    assert "disease: Calibrated figures use" in text or "disease: Probabilities were not calibrated" in text
    assert "AUROC, disease" in text and "All labels right" in text


def test_folds_and_seeds_are_shown_each_by_itself_with_their_spread(config):
    seeds = pd.concat([predictions(seed=seed).assign(seed=seed, label=predictions()["label"]) for seed in range(3)])
    write_run(config, "tiny", seeds)
    text = words(experiment(config))
    models = pd.read_csv(Artifacts(config.root).run("made", "tiny").models)
    aurocs = models.loc[models["metric"] == "auroc", "value"]
    assert f"AUROCs of seeds go from {aurocs.min():.3f} to {aurocs.max():.3f}" in text
    assert "seed 2, fold 0" in text


def test_what_was_frozen_on_validation_is_said_in_words(config):
    write_run(config, "tiny", predictions())
    text = words(experiment(config))
    run = Artifacts(config.root).run("made", "tiny")
    threshold = json.loads(run.operating_point.read_text())["patient"]["threshold"]
    assert f"from a probability of {threshold:.3f}, chosen on validation for the best sum" in text
    low, high = json.loads(run.conformal.read_text())["patient"]["expected_range"]["healthy"]
    assert f"Limits from so many patients keep between {low:.0%} and {high:.0%} of healthy" in text
    assert "Dots as predicted, rings after calibration" in text
    assert "Decision curve" in text and "would often be missed" in text


def test_what_was_frozen_for_the_mean_of_several_folds_is_said_to_be_approximate(config):
    folds = pd.concat([predictions().assign(fold=fold) for fold in range(2)])
    half = folds.groupby("split")["patient_id"].transform(lambda ids: pd.factorize(ids)[0] // 2 % 2)
    write_run(config, "tiny", folds[(folds["split"] == "test") | (half == folds["fold"])])
    text = words(experiment(config))
    assert "of the patients of each class; approximate, since each validation patient has one model's" in text
    assert "Limits from so many patients keep between" not in text
    operating = text[text.index("Each rule's threshold was chosen") : text.index("Each model by itself")]
    assert operating.count("approximate") == 4


def test_the_same_files_give_the_same_page(config):
    write_run(config, "tiny", predictions())
    assert experiment(config) == experiment(config)


def test_missing_metrics_say_who_writes_them(config):
    with pytest.raises(FileNotFoundError, match="pipeline.evaluate"):
        experiment(config)


def index(config: Config) -> str:
    paths = Artifacts(config.root)
    return index_html([gather_run(name, paths.run("made", name), (0,)) for name in config.experiments], config)


def test_the_index_links_and_compares_experiments(config):
    write_run(config, "tiny", predictions(signal=3.0))
    write_run(config, "other", predictions(signal=0.0, seed=1))
    page = read(index(config))
    assert {"tiny.html", "other.html"} <= set(page.links)
    assert "tiny ranks patients better than other" in " ".join(page.text)


def test_an_index_of_other_patients_says_why_it_does_not_compare(config):
    write_run(config, "tiny", predictions())
    write_run(config, "other", predictions(patients=57))
    assert "val patients differ from those of tiny" in words(index(config))


def test_audits_stand_with_their_verdicts_and_a_used_shortcut_beside_the_result(config):
    write_run(config, "tiny", predictions())
    without = words(experiment(config))
    assert "'python -m pipeline.audit'" in without
    part = {"value": 0.93, "p_value": 0.001, "adjusted_p_value": 0.003, "num_patients": 60, "reason": None}
    nothing = {"verdict": "not judged", "is_alarm": None, "words": "Not judged: few.", "figures": {}, "reason": "few"}
    used = {"verdict": "shortcut used", "is_alarm": True, "words": "It reads the site.", "reason": None}
    parts = {"available": part, "followed": part, "without_body": part | {"value": None, "adjusted_p_value": None}}
    fall = {"auroc": 0.9, "auroc_within": 0.7, "p_value": 0.01}
    stage = {"name": "stage1", "auroc": 0.8, "low": 0.7, "high": 0.9, "p_value": 0.01, "lead": 0, "lead_p_value": 1}
    audits = dict.fromkeys(("chance", "simple", "label_quality", "stability"), nothing) | {
        "shortcut": used | {"figures": parts | {"fall": fall}},
        "stages": nothing | {"figures": {"head_auroc": 0.9, "stages": [stage]}},
    }
    paths = Artifacts(config.root).run("made", "tiny")
    write_text(paths.audits, json.dumps(audits))
    row = f"{NASTY},val,healthy,disease,0.8,True"
    write_text(paths.doubtful_labels, f"patient_id,split,label,suggested,lead,is_suspect\n{row}\n")
    html = experiment(config)
    text = words(html)
    assert text.count("It reads the site.") == 2
    assert "Does it read how the scan was made? Shortcut used." in text and "0.900 → 0.700" in text
    assert "Do labels reach the test set? Not judged." in text and "Signal by stage" in text
    assert NASTY not in html and "healthy disease 0.800" in text
