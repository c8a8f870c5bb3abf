"""`python -m tests.training.killed_command FILE TIMES [words]`: the train stage, killed as it writes a file again.

It dies at the TIMES-th write, when the content stands under another name.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    name, times = sys.argv.pop(1), int(sys.argv.pop(1))
    really, written = os.replace, []

    def replace(source: str, target: str) -> None:
        written.extend([target] if Path(target).name == name else [])
        if len(written) == times:
            os.kill(os.getpid(), signal.SIGKILL)
        really(source, target)

    os.replace = replace
    runpy.run_module("pipeline.train", run_name="__main__", alter_sys=True)
