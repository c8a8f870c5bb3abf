"""The W&B server: is there a key for it, does it answer, and what to send it later."""

import logging
import netrc
import os
import socket
import subprocess
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import wandb

log = logging.getLogger(__name__)
ANSWERS_WITHIN_S = 2.0


def server() -> SplitResult:
    """The address that wandb would use, by its settings and the environment."""
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
    """Why the server does not answer; None if it does."""
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        with socket.create_connection((address.hostname, port), timeout=ANSWERS_WITHIN_S):
            return None
    except OSError as error:
        return said(error)


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
    """Send the offline runs below `folder` with `wandb sync`; its exit code. ValueError where that cannot work."""
    parts = [part for part in sorted(folder.glob("offline-run-*")) if not list(part.glob("*.synced"))]
    if not parts:
        log.info("%s: nothing to upload, every offline run is on the server or there is none.", folder)
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
    return subprocess.run(["wandb", "sync", "--yes", *map(str, parts)], check=False).returncode


def check_key() -> None:
    """ValueError if the server knows no such key."""
    try:
        wandb.login(verify=True, timeout=10)
    except wandb.Error as error:
        raise ValueError(f"the W&B key is refused: {said(error)}; give 'wandb login --relogin'.") from None
