"""Every command that the README shows exists, with the options and keys that it shows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.load import load_config

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
LINES = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [shlex.split(line, comments=True) for line in LINES if line.strip()]
STAGES = [words for words in COMMANDS if words[:2] == ["python", "-m"]]


def test_the_readme_shows_commands() -> None:
    assert len(STAGES) > 5 and ["make", "repro"] in COMMANDS and ["make", "test"] in COMMANDS


@pytest.mark.parametrize("words", STAGES, ids=" ".join)
def test_a_stage_takes_the_options_and_keys_that_are_shown(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    subcommand = [word for word in words[3:4] if word.isidentifier()]
    done = subprocess.run(
        [sys.executable, *words[1:3], *subcommand, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for word in words[3:]:
        if word.startswith("--"):
            assert word in done.stdout
    overrides = [word for word in words[3:] if "=" in word]
    configs = [word for word in words if word.endswith(".yaml")]
    if overrides or configs:
        load_config(configs[0] if configs else None, overrides)


@pytest.mark.parametrize("target", [words[1] for words in COMMANDS if words[0] == "make"])
def test_a_make_target_is_there(target: str) -> None:
    assert re.search(rf"^{target}:.*##", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_a_linked_file_is_there(link: str) -> None:
    assert (REPOSITORY / link).is_file()
