"""Embed: a Parquet table of features, a row a scan, of any encoder or trained run.

Reads   preprocessed scans, splits.csv, plan.yaml; with --run the best.ckpt of one training
Writes  runs/<cohort>/<experiment>/embeddings/fold-<k>-seed-<s>.parquet, or data/<cohort>/embeddings/<name>.parquet
"""

import logging
from pathlib import Path
from typing import Annotated, Literal

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts

log = logging.getLogger(__name__)


def embed(
    config: Config,
    *,
    run: Annotated[
        Path | None, "one training, runs/<cohort>/<experiment>/fold-<k>-seed-<s>; default: --config's encoder"
    ] = None,
    layer: Annotated[
        Literal["embedding", "stage1", "stage2", "stage3", "stage4"],
        "embedding: what the classifier reads (default); stage1 to stage4: the mean of a stage's map",
    ] = "embedding",
    out: Annotated[Path | None, "table to write (default: with the run, or in data/<cohort>/embeddings/)"] = None,
) -> None:
    """Embed every preprocessed scan of a cohort once, for `python -m pipeline.probe` and for tools of your own."""
    from pipeline.core.io import check_replaceable
    from pipeline.inference.embedding import Encoder, embed_cohort, embedding_file, write_embeddings

    paths, name = Artifacts(config.root), config.cohort.name
    cohort = paths.cohort(name)
    encoder = Encoder.of_run(run) if run else Encoder.of_config(config, cohort)
    path = out or embedding_file(paths, name, encoder, layer)
    check_replaceable(path)
    table = embed_cohort(encoder, cohort, layer)
    write_embeddings(path, table)
    log.info("%s: %d scans, %d features", path, len(table), sum(name.startswith("feature_") for name in table))


if __name__ == "__main__":
    cli.run(embed)
