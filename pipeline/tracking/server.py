"""Is there a W&B server to send to: a key, and an address that answers, directly or through a proxy."""

import base64
import http.client
import logging
import netrc
import os
import socket
from threading import Thread
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

log = logging.getLogger(__name__)
CONNECT_TIMEOUT_S = 2.0
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def can_upload() -> bool:
    """Is there a key, and a server that accepts connections? Logs why a configured key cannot be used."""
    address = server_address()
    if not has_key(address.hostname or "") or os.environ.get("WANDB_MODE", "online") != "online":
        return False
    reason = reason_unreachable(address)
    if reason:
        log.info("tracking: %s does not answer (%s); writing offline.", address.hostname, reason)
    return reason is None


def server_address() -> SplitResult:
    """The address that wandb uses, by its settings and the environment."""
    from pipeline.tracking.wandb_run import base_url

    return urlsplit(base_url())


def has_key(host: str) -> bool:
    """Is a W&B key configured, in the environment or in netrc?"""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def reason_unreachable(address: SplitResult) -> str | None:
    """Why no connection to the server is possible, directly or through a proxy; None if one is."""
    reasons: list[str | None] = []
    # In a thread, because the system's name resolution has no time limit.
    probe = Thread(target=lambda: reasons.append(connection_error(address)), daemon=True)
    probe.start()
    probe.join(CONNECT_TIMEOUT_S)
    return reasons[0] if reasons else f"nothing within {CONNECT_TIMEOUT_S:g} s"


def connection_error(address: SplitResult) -> str | None:
    proxy = proxy_for(address)
    try:
        if proxy is None:
            socket.create_connection(host_and_port(address), CONNECT_TIMEOUT_S).close()
        else:
            connect_through(proxy, address)
    except (OSError, http.client.HTTPException) as error:
        return one_line(error) if proxy is None else f"through the proxy {proxy.hostname}: {one_line(error)}"
    return None


def proxy_for(address: SplitResult) -> SplitResult | None:
    """The proxy named by HTTPS_PROXY, HTTP_PROXY and NO_PROXY, or by the system's settings."""
    proxy = getproxies().get(address.scheme)
    if not proxy or proxy_bypass(address.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def connect_through(proxy: SplitResult, address: SplitResult) -> None:
    """Open a tunnel to the server; for plain HTTP only the proxy itself is tried. Raises OSError on failure."""
    host, port = host_and_port(proxy)
    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
    if address.scheme == "https" and proxy.scheme == "http":
        connection.set_tunnel(*host_and_port(address), headers=proxy_authorization(proxy))
    connection.connect()
    connection.close()


def proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def host_and_port(address: SplitResult) -> tuple[str, int]:
    return address.hostname or "", address.port or PORTS.get(address.scheme, 80)


def one_line(error: BaseException) -> str:
    """The error message, cut to its first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
