"""A process that has imported the heavy libraries and the package, and forks for every `python …` of the tests.

    python tests/fork_server.py SOCKET                       # the server, until its standard input is closed
    python tests/fork_server.py SOCKET -m MODULE | PROGRAM …   # a client: the same in a fork, with its files

Importing torch, lightning and MONAI takes longer than most commands. A fork has them at once; all else is as in a new
process: arguments, folder, environment, files, exit code.
"""

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

LIBRARIES = (
    *(
        "torch",
        "lightning",
        "lightning.pytorch",
        "monai.data",
        "monai.transforms",
        "timm",
        "safetensors.torch",
    ),
    *("pandas", "scipy.ndimage", "scipy.stats", "scipy.optimize", "sklearn.linear_model", "sklearn.model_selection"),
    *("matplotlib.figure", "nibabel", "pydantic", "ruamel.yaml", "rich.progress", "rich.table", "jinja2", "isal.igzip"),
)
LARGEST_REQUEST = 1 << 20
PACKAGE = Path(__file__).resolve().parents[1] / "pipeline"


def modules_of_package() -> list[str]:
    """All but the commands, which `-m` runs, and the one that holds wandb, which each command imports anew."""
    paths = [path for path in PACKAGE.glob("*/**/*.py") if path.name not in ("__main__.py", "wandb_run.py")]
    names = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in paths]
    return sorted(".".join(parts).removesuffix(".__init__") for parts in names)


def serve(path: str) -> None:
    """Answer one client after the other; children that ended are collected as new clients come."""
    import gc
    import importlib

    for name in (*LIBRARIES, *modules_of_package()):
        importlib.import_module(name)
    # Forks share the pages of what they never look through.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + ".new")
        listener.listen(64)
        os.rename(path + ".new", path)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                watch(client)
            client.close()


def watch(client: socket.socket) -> None:
    """In a fork: run the command in a fork of its own; tell the client its number and how it ended, also if killed."""
    message, files, _, _ = socket.recv_fds(client, LARGEST_REQUEST, 3)
    while not message.endswith(b"\n"):
        message += client.recv(LARGEST_REQUEST)
    child = os.fork()
    if child == 0:
        client.close()
        run(json.loads(message), files)
    client.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def run(request: dict, files: list[int]) -> None:
    """Become the command, as `python …` would."""
    import atexit
    import threading
    import traceback

    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[1:1] = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    # What is started from here as another Python is a fork too.
    sys.executable = request["python"]
    forget_modules(Path(request["folder"]))
    code: object = 0
    try:
        run_words(request["words"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def forget_modules(folder: Path) -> None:
    """What is to be imported anew: a package of the folder's own, and wandb, which timm imports.

    wandb then reads this command's environment and makes a folder of its own.
    """
    own = folder / "pipeline"
    names = {"wandb", "pipeline"} if own.exists() and own.resolve() != PACKAGE else {"wandb"}
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]


def run_words(words: list[str]) -> None:
    """What Python does with its arguments."""
    import runpy

    words = words[words[0] == "-u" :]
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


class Fork:
    """A command that the server at `path` runs: the least of a `subprocess.Popen`."""

    def __init__(self, path: str, words: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
        self.server, self.returncode = socket.socket(socket.AF_UNIX), None
        self.server.connect(path)
        python = str(Path(path).with_name("python"))
        content = {"words": words, "folder": folder, "environment": environment, "python": python}
        socket.send_fds(self.server, [json.dumps(content).encode() + b"\n"], files)
        self.answer = self.server.makefile()
        self.pid = int(self.answer.readline())

    def poll(self) -> int | None:
        """The exit code of a command that ended."""
        ready, _, _ = select.select([self.server], [], [], 0)
        return self.wait() if ready else self.returncode

    def wait(self) -> int:
        """The exit code once the command ended, that of a signal below zero."""
        if self.returncode is None:
            self.returncode = int(self.answer.readline() or 1)
            self.server.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.path.insert(1, str(PACKAGE.parent))
        serve(sys.argv[1])
    else:
        fork = Fork(sys.argv[1], sys.argv[2:], os.getcwd(), dict(os.environ), [0, 1, 2])
        if fork.wait() < 0:
            os.kill(os.getpid(), -fork.returncode)
        sys.exit(fork.returncode)
