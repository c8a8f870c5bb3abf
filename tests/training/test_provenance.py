from pathlib import Path

import pandas as pd

from pipeline.core import provenance
from pipeline.training.provenance import DECIDES_WEIGHTS, hash_of_code, hash_of_data
from tests.test_dvc_graph import GRAPH, keys_of
from tests.training.small import write_blocks


def test_the_code_that_is_hashed_is_the_code_that_the_train_stage_follows() -> None:
    followed = {dep.removeprefix("pipeline/") for dep in keys_of(GRAPH["train"], "deps") if dep.startswith("pipeline/")}
    assert set(DECIDES_WEIGHTS) == followed


def test_the_hash_of_the_code_changes_with_content_and_name_and_with_nothing_else(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    for name in DECIDES_WEIGHTS:
        path = tmp_path / name if name.endswith(".py") else tmp_path / name / "inner" / "module.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    (tmp_path / "report.py").write_text("x = 1\n")

    def digest() -> str:
        provenance.hash_of_modules.cache_clear()
        return hash_of_code()

    first = digest()
    (tmp_path / "report.py").write_text("x = 2\n")
    (tmp_path / "models" / "notes.txt").write_text("no code")
    assert digest() == first
    (tmp_path / "models" / "inner" / "module.py").write_text("x = 2\n")
    second = digest()
    (tmp_path / "models" / "inner" / "module.py").rename(tmp_path / "models" / "inner" / "other.py")
    assert len({first, second, digest()}) == 3


def test_the_hash_of_the_data_sees_labels_sides_and_voxels_and_no_order(tmp_path: Path) -> None:
    store, table = write_blocks(tmp_path, ("dark", "light"))
    sides = {"train": table[:10], "val": table[10:]}
    first = hash_of_data(store, sides)
    assert hash_of_data(store, {"train": table[:10][::-1], "val": table[10:]}) == first
    relabeled = table.assign(label=table["label"].where(table["scan_id"] != "s3", "dark"))
    others = [
        hash_of_data(store, {"train": table[:9], "val": table[9:]}),
        hash_of_data(store, {"train": relabeled[:10], "val": relabeled[10:]}),
        hash_of_data(store, {"train": pd.concat([table[:9], table[10:11]]), "val": table[11:]}),
    ]
    assert len({first, *others}) == 4
