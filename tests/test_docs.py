"""What the docs give to copy runs: scripts parse, and name settings that exist."""

import re
import subprocess
from pathlib import Path

import pytest

from pipeline.config import Training

DOCS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)
BLOCKS = [(path.name, block) for path in DOCS for block in SHELL.findall(path.read_text())]


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_shell_in_the_docs_parses(name: str, block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_training_settings_in_the_docs_exist() -> None:
    named = {key for path in DOCS for key in re.findall(r"(?<![.\w])training\.([a-z_]+)", path.read_text())}
    assert named <= set(Training.model_fields), named - set(Training.model_fields)


def test_the_job_script_asks_slurm_for_as_many_tasks_as_it_trains_with() -> None:
    script = next(block for name, block in BLOCKS if "#SBATCH" in block)
    tasks = re.search(r"--ntasks-per-node=(\d+)", script).group(1)
    assert f"training.devices={tasks} " in script and f"--gpus-per-node={tasks}\n" in script
