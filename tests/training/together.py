"""A small training in several processes, as a program for torchrun: `together.py FOLDER SETTINGS-AS-JSON`."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.small import SmallTraining  # noqa: E402

if __name__ == "__main__":
    SmallTraining(Path(sys.argv[1]), **json.loads(sys.argv[2]))("run")
