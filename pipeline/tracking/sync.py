"""The files that W&B has written of a run, one part a sitting, read by wandb's own reader."""

import base64
import http.client
import json
import logging
import netrc
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

log = logging.getLogger(__name__)
WANDB = (sys.executable, "-m", "wandb")
"""The command line of the wandb that is imported here; PATH may have another, or none."""
ASIDE = "superseded"
KINDS = ("run-*", "offline-run-*")
"""What went online as it was written, and what waits for `wandb sync`."""


def parts_of(folder: Path, run_id: str) -> list[Path]:
    """What lies below wandb/ of a run, oldest first."""
    return sorted((part for part in all_parts(folder) if part.name.endswith(f"-{run_id}")), key=started)


def waiting_parts(folder: Path) -> list[Path]:
    """What the server does not have, or not whole, oldest first."""
    return sorted((part for part in all_parts(folder) if not is_uploaded(part)), key=started)


def all_parts(folder: Path) -> Iterable[Path]:
    return (part for kind in KINDS for part in folder.glob(kind))


def started(part: Path) -> str:
    """The time in the name of a part."""
    return part.name.removeprefix("offline-")


def is_uploaded(part: Path) -> bool:
    """`wandb sync` leaves a mark beside what it has uploaded, and so does `mark_uploaded`."""
    return any(part.glob("*.synced"))


def mark_uploaded(part: Path) -> None:
    """Of a run that went online and ended well: nothing of it is left to send."""
    for file in part.glob("*.wandb"):
        file.with_suffix(".wandb.synced").touch()


def set_aside(folder: Path, run_id: str) -> None:
    """Move what was never sent of a training that starts anew: two beginnings under one id would be mixed up."""
    for part in parts_of(folder, run_id):
        if is_uploaded(part):
            continue
        try:
            (folder / ASIDE).mkdir(exist_ok=True)
            part.rename(folder / ASIDE / part.name)
            log.info("tracking: %s was never uploaded and is superseded; it lies in %s now.", part, folder / ASIDE)
        except OSError as error:
            log.warning("tracking: %s is superseded and could not be moved away (%s); remove it.", part, error)


def last_step(parts: Iterable[Path]) -> int:
    """The last step that these parts of a run hold; -1 where there is none."""
    return max((last_step_of_part(part) for part in parts), default=-1)


def last_step_of_part(part: Path) -> int:
    try:
        records = read_records(part)
        steps = [record["history"]["step"].get("num", 0) for record in records if record["type"] == "history"]
    # Also a layout that another version of wandb has changed: watching must not stop what is watched.
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("tracking: %s cannot be read (%s); some steps may be sent twice.", part.name, error)
        return -1
    return max(steps, default=-1)


def read_records(part: Path) -> list[dict[str, Any]]:
    """All records of a part; of one that was cut short, those that are whole."""
    words = [*WANDB, "leet", "inspect", "--json", str(part)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


ANSWERS_WITHIN_S = 2.0
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def server() -> SplitResult:
    """The address that wandb would use, by its settings and the environment."""
    import wandb

    return urlsplit(wandb.setup().settings.base_url)


def has_key(host: str) -> bool:
    """Is a W&B key configured, in the environment or in netrc?"""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def why_silent(address: SplitResult) -> str | None:
    """Why the server does not answer, directly or through the proxy of the environment; None if it does."""
    reasons: list[str | None] = []
    # In a thread, for the system looks a name up for as long as it likes.
    probe = Thread(target=lambda: reasons.append(trouble_with(address)), daemon=True)
    probe.start()
    probe.join(ANSWERS_WITHIN_S)
    return reasons[0] if reasons else f"nothing within {ANSWERS_WITHIN_S:g} s"


def trouble_with(address: SplitResult) -> str | None:
    proxy = proxy_for(address)
    try:
        if proxy is None:
            socket.create_connection(place(address), ANSWERS_WITHIN_S).close()
        else:
            connect_through(proxy, address)
    except (OSError, http.client.HTTPException) as error:
        return said(error) if proxy is None else f"through the proxy {proxy.hostname}: {said(error)}"
    return None


def proxy_for(address: SplitResult) -> SplitResult | None:
    """By HTTPS_PROXY, HTTP_PROXY and NO_PROXY, or the system's settings."""
    proxy = getproxies().get(address.scheme)
    if not proxy or proxy_bypass(address.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def connect_through(proxy: SplitResult, address: SplitResult) -> None:
    """Ask a proxy for a way to the server; OSError where it has none. A proxy for plain HTTP is only looked for."""
    host, port = place(proxy)
    asked = http.client.HTTPConnection(host, port, timeout=ANSWERS_WITHIN_S)
    if address.scheme == "https" and proxy.scheme == "http":
        asked.set_tunnel(*place(address), headers=credentials(proxy))
    asked.connect()
    asked.close()


def credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}


def place(address: SplitResult) -> tuple[str, int]:
    return address.hostname or "", address.port or PORTS.get(address.scheme, 80)


def can_upload() -> bool:
    """Is there a key, and a server that answers? Where a key waits for a server in vain, the log says so."""
    address = server()
    if not has_key(address.hostname or ""):
        return False
    reason = why_silent(address)
    if reason:
        log.info("tracking: %s does not answer (%s); writing offline.", address.hostname, reason)
    return reason is None


def said(error: Exception) -> str:
    """The error in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def upload_runs(folder: Path) -> int:
    """Send what waits below `folder` with `wandb sync`; its exit code. ValueError where that cannot work."""
    parts = waiting_parts(folder)
    if not parts:
        log.info("%s: nothing to upload, every run is on the server or there is none.", folder)
        return 0
    address = server()
    if not has_key(address.hostname or ""):
        raise ValueError(
            f"{len(parts)} runs wait in {folder}/, and no W&B key is configured for {address.hostname}; "
            "set WANDB_API_KEY or give 'wandb login' first."
        )
    reason = why_silent(address)
    if reason:
        raise ValueError(
            f"{address.hostname} does not answer ({reason}); {len(parts)} runs go on waiting in {folder}/."
        )
    check_key()
    # Runs that were online until the network went are called like those that are there whole.
    words = [*WANDB, "sync", "--yes", "--include-online", *map(str, parts)]
    return subprocess.run(words, check=False).returncode


def check_key() -> None:
    """ValueError if the server knows no such key."""
    import wandb

    try:
        wandb.login(verify=True, timeout=10)
    except wandb.Error as error:
        raise ValueError(f"the W&B key is refused: {said(error)}; give 'wandb login --relogin'.") from None
