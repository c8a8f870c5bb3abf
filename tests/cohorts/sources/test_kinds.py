"""Each source is one registry entry; a user's own module adds one, which a config then chooses by its kind."""

from pathlib import Path
from typing import Literal

import pytest

from pipeline.cohorts.sources.fetch import fetch_cohort
from pipeline.cohorts.sources.kinds import FolderSource
from pipeline.config import Cohort, Columns
from pipeline.config.source import SOURCES, Source, SourceKind
from pipeline.core.paths import CohortPaths
from tests.conftest import Commands

PLUGIN = '''
from pathlib import Path
from typing import Literal

from pipeline.config.source import SOURCES, Source
from pipeline.core.paths import CohortPaths


class TextSource(Source):
    """Scans that are text."""

    kind: Literal["text"]
    num_scans: int = 2
    """How many."""


@SOURCES.register("text", title="Scans that are text", options=TextSource, extras=("notes.txt",))
def write_text(source: TextSource, new: CohortPaths, downloads: Path) -> None:
    new.raw.mkdir()
    for number in range(source.num_scans):
        (new.raw / f"{number}.txt").write_text("a scan")
    (new.folder / "notes.txt").write_text("written by a plugin")
    new.labels.write_text("scan_id,label\\n")
'''


@pytest.fixture
def with_plugin(project: Path) -> Path:
    """The tiny project, whose cohort `texts` comes from a module of the user's own in the same folder."""
    (project / "my_sources.py").write_text(PLUGIN)
    cohort = project / "configs" / "cohorts" / "cubes.yaml"
    text = cohort.read_text().replace("source: {kind: folder, scans: $CUBES, table: $CUBES/labels.csv}", "")
    (cohort.parent / "texts.yaml").write_text(f"plugins: [my_sources]\nsource: {{kind: text, num_scans: 3}}\n{text}")
    return project


def test_a_source_of_a_users_own_module_runs_through_fetch(with_plugin: Path, command: Commands) -> None:
    command("fetch", "cohort=texts")
    folder = with_plugin / "data" / "texts"
    assert sorted(path.name for path in (folder / "raw").iterdir()) == ["0.txt", "1.txt", "2.txt"]
    assert (folder / "notes.txt").read_text() == "written by a plugin" and (folder / "labels.csv").is_file()


def test_options_of_a_users_own_source_are_checked_like_all_others(with_plugin: Path, command: Commands) -> None:
    message = command("fetch", "cohort=texts", "cohort.source.num_scan=3", check=False).stderr
    assert "unknown key 'cohort.source.num_scan'. Did you mean 'num_scans'?" in message
    config = with_plugin / "configs" / "cohorts" / "texts.yaml"
    config.write_text(config.read_text().replace("my_sources", "my_source"))
    message = command("fetch", "cohort=texts", check=False).stderr
    assert "configs/cohorts/texts.yaml: plugins: no module 'my_source'" in message


def test_a_record_imports_no_plugin_and_keeps_its_source_as_it_is() -> None:
    content = {"name": "texts", "source": {"kind": "text", "num_scans": 3}, "modality": "MR", "laterality": "relevant"}
    cohort = Cohort.from_record({**content, "plugins": ["a_module_that_does_not_exist"]})
    assert cohort.model_dump()["source"] == {"kind": "text", "num_scans": 3}
    assert "plugins" not in cohort.model_dump()
    with pytest.raises(ValueError, match="unknown source kind 'text'"):
        Cohort.model_validate(content)


def test_a_source_that_leaves_out_what_it_promises_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class EmptySource(Source):
        kind: Literal["empty"]

    monkeypatch.setattr(SOURCES, "_entries", dict(zip(SOURCES.names(), SOURCES.entries(), strict=True)))
    SOURCES.add("empty", SourceKind("empty", lambda source, new, downloads: new.raw.mkdir(), "", EmptySource))
    cohort = Cohort(name="mine", source={"kind": "empty"}, modality="MR", laterality="relevant")
    with pytest.raises(ValueError, match="source kind 'empty' wrote no labels.csv"):
        fetch_cohort(cohort, CohortPaths(tmp_path))
    assert not any(tmp_path.iterdir())


def test_the_options_of_an_entry_declare_its_name() -> None:
    with pytest.raises(ValueError, match=r'FolderSource.kind: expected Literal\["other"\]'):
        SourceKind("other", lambda source, new, downloads: None, "", FolderSource)


def test_a_bids_suffix_contradicts_channels() -> None:
    source = FolderSource(kind="folder", scans="scans", table="participants.tsv", bids_suffix="T1w")
    source.check_columns(Columns())
    with pytest.raises(ValueError, match="bids_suffix finds one file per scan"):
        source.check_columns(Columns(channels=("t1", "flair")))
