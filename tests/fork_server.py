"""A process that has imported the heavy libraries and forks for every `python -m …` of the tests.

    python tests/fork_server.py SOCKET            # the server, until its standard input is closed
    python tests/fork_server.py SOCKET -m MODULE  # a client: the same command in a fork, with this process's files

Importing torch, lightning and MONAI takes longer than most commands. A fork has them at once; all else is as in a new
process: arguments, folder, environment, files, exit code.
"""

import json
import os
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


def serve(path: str) -> None:
    """Answer one client after the other; children that ended are collected as new clients come."""
    import importlib
    import select
    import signal

    for library in LIBRARIES:
        importlib.import_module(library)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + ".new")
        listener.listen(64)
        os.rename(path + ".new", path)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                watch(client)
            client.close()


def watch(client: socket.socket) -> None:
    """In a fork: run the command in a fork of its own, and tell the client how it ended, also if it was killed."""
    message, files, _, _ = socket.recv_fds(client, LARGEST_REQUEST, 3)
    while not message.endswith(b"\n"):
        message += client.recv(LARGEST_REQUEST)
    child = os.fork()
    if child == 0:
        client.close()
        run(json.loads(message), files)
    _, status = os.waitpid(child, 0)
    client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def run(request: dict, files: list[int]) -> None:
    """Become the command, as `python -m` would."""
    import atexit
    import runpy
    import threading
    import traceback

    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    # timm imports wandb. Here it is imported anew, with this command's environment, and makes a folder of its own.
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        del sys.modules[name]
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.path[1:1] = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = request["words"]
    code: object = 0
    try:
        runpy.run_module(request["words"][0], run_name="__main__", alter_sys=True)
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


def request(path: str, words: list[str]) -> int:
    """Have the server run a command, and return its exit code."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        content = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(server, [json.dumps(content).encode() + b"\n"], [0, 1, 2])
        answer = server.recv(64)
    return int(answer or b"1")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.path.insert(1, str(Path(__file__).parents[1]))
        serve(sys.argv[1])
    else:
        code = request(sys.argv[1], sys.argv[3:])
        if code < 0:
            os.kill(os.getpid(), -code)
        sys.exit(code)
