"""Embedding a cohort: the features are those of the network, whatever the order, and Parquet keeps them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.config import Config
from pipeline.core.folds import write_splits
from pipeline.inference.embedding import Encoder, embed_cohort, write_embeddings
from pipeline.models import build_model
from pipeline.store.store import Store
from pipeline.training.checkpoint import TrainedCheckpoint
from tests.inference.embedded_cohort import EmbeddedCohort
from tests.training.small import MODEL, PLAN


@pytest.fixture
def cohort(tmp_path: Path) -> EmbeddedCohort:
    return EmbeddedCohort(tmp_path)


def features_of(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("scan_id").filter(like="feature_")


def write_checkpoint(cohort: EmbeddedCohort, folder: Path, model: dict[str, object], fold: int = 1) -> Path:
    """A training that ended at once, and its folder."""
    config = Config.model_validate({**cohort.config.model_dump(mode="json"), "model": model, "fold": fold})
    network = build_model(model["name"], **model["options"], freeze=model.get("freeze", False))
    TrainedCheckpoint(
        config=config.model_dump(mode="json"),
        plan=PLAN.model_dump(mode="json"),
        classes=["dark", "light"],
        state_dict=network.state_dict(),
        epoch=0,
        score=0.5,
        data_hash="",
        code_hash="",
    ).write(folder / "best.ckpt")
    return folder


def test_the_parquet_is_read_back_with_pandas_alone(cohort: EmbeddedCohort, tmp_path: Path) -> None:
    table = embed_cohort(Encoder.of_config(cohort.config, cohort.paths), cohort.paths)
    write_embeddings(tmp_path / "x.parquet", table)
    found = pd.read_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(found, table)
    assert found["scan_id"].tolist() == cohort.splits["scan_id"].tolist()  # ids keep their zeros
    assert found.loc[found["split"] == "test", "fold"].isna().all()
    origin = found.attrs
    assert (origin["experiment"], origin["cohort"], origin["layer"]) == ("conv", "blocks", "embedding")
    assert origin["learned_from"] is None and len(origin["preprocessing_sha256"]) == 64


def test_a_row_is_what_the_network_alone_gives_for_that_scan(cohort: EmbeddedCohort) -> None:
    table = features_of(embed_cohort(Encoder.of_config(cohort.config, cohort.paths), cohort.paths))
    network = build_model("random_conv3d", num_kernels=4, freeze=True).eval()
    for scan_id in table.index[:3]:
        volume = torch.from_numpy(Store(cohort.paths.preprocessed).read(scan_id)[0])
        with torch.no_grad():
            expected = network.forward_head(network.forward_features(volume[None]), pre_logits=True)[0]
        np.testing.assert_array_equal(table.loc[scan_id], expected)


def test_other_scans_and_their_order_change_no_features(cohort: EmbeddedCohort, tmp_path: Path) -> None:
    run = write_checkpoint(cohort, tmp_path / "run", MODEL)
    first = features_of(embed_cohort(Encoder.of_run(run), cohort.paths))
    write_splits(cohort.paths.splits, cohort.splits[::-1])
    reversed_order = features_of(embed_cohort(Encoder.of_run(run), cohort.paths))
    pd.testing.assert_frame_equal(reversed_order.loc[first.index], first, check_exact=True)
    assert reversed_order.index.tolist() == first.index.tolist()[::-1]
    # All of them in one batch, but for the rounding of larger matrix products.
    volumes = np.stack([Store(cohort.paths.preprocessed).read(scan_id)[0] for scan_id in first.index])
    network = Encoder.of_run(run).network
    with torch.no_grad():
        together = network.forward_head(network.forward_features(torch.from_numpy(volumes)), pre_logits=True)
    np.testing.assert_allclose(first, together, atol=1e-5)


def test_a_trained_run_says_which_fold_its_features_learned_from(cohort: EmbeddedCohort, tmp_path: Path) -> None:
    trained = embed_cohort(Encoder.of_run(write_checkpoint(cohort, tmp_path / "run", MODEL)), cohort.paths)
    assert trained.attrs["learned_from"] == {"cohort": "blocks", "fold": 1}
    assert trained.attrs["training"] == "fold-1-seed-0" and len(trained.attrs["checkpoint_sha256"]) == 64
    frozen = write_checkpoint(cohort, tmp_path / "frozen", cohort.config.model.model_dump())
    assert Encoder.of_run(frozen).origin["learned_from"] is None


def test_a_stage_is_the_mean_of_its_map(cohort: EmbeddedCohort, tmp_path: Path) -> None:
    encoder = Encoder.of_run(write_checkpoint(cohort, tmp_path / "run", MODEL))
    table = features_of(embed_cohort(encoder, cohort.paths, "stage2"))
    volume = torch.from_numpy(Store(cohort.paths.preprocessed).read(table.index[0])[0])
    with torch.no_grad():
        stage = encoder.network.forward_stages(volume[None]).stages[1]
    np.testing.assert_allclose(table.iloc[0], stage.mean((0, 2, 3, 4)), rtol=1e-5, atol=1e-7)


def test_scans_of_another_plan_are_refused(tmp_path: Path) -> None:
    cohort = EmbeddedCohort(tmp_path, plan="another")
    with pytest.raises(ValueError, match="scan '000_0' was preprocessed by another plan"):
        embed_cohort(Encoder.of_config(cohort.config, cohort.paths), cohort.paths)


def test_a_network_with_random_weights_is_refused(cohort: EmbeddedCohort) -> None:
    config = Config.model_validate({**cohort.config.model_dump(mode="json"), "model": MODEL})
    with pytest.raises(ValueError, match="poolformer_s12: its weights are random .* give --run"):
        Encoder.of_config(config, cohort.paths)
