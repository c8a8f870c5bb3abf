"""The W&B server: is there a key for it, does it answer, and what to send it later."""

import base64
import http.client
import logging
import netrc
import os
import socket
import subprocess
from pathlib import Path
from threading import Thread
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.tracking.parts import WANDB, waiting_parts

log = logging.getLogger(__name__)
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
