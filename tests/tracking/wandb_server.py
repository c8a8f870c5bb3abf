"""As much of a W&B server as a run needs that is sent to it, and all bytes that it was sent."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "0" * 40


class WandbServer(ThreadingHTTPServer):
    """It knows no earlier run, takes every key, and keeps what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.received: list[tuple[str, bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to use it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """The rows that were sent of a run, in the order in which they came."""
        bodies = [json.loads(body) for path, body in self.received if path.endswith(f"/{run_id}/file_stream")]
        chunks = [body.get("files", {}).get("wandb-history.jsonl", {}) for body in bodies]
        return [json.loads(line) for chunk in chunks for line in chunk.get("content", [])]

    def answer_to(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """To GraphQL, as far as anybody asks."""
        if "upsertBucket" in query:
            project = {"id": "2", "name": variables["project"], "entity": {"id": "3", "name": "somebody"}}
            run = {"id": "1", "name": variables["name"], "displayName": "", "config": "{}", "project": project}
            return {"upsertBucket": {"bucket": {**run, "historyLineCount": 0}, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            teams = {"edges": []}
            return {"viewer": {"id": "1", "entity": "somebody", "username": "somebody", "flags": "{}", "teams": teams}}
        return {"model": {"bucket": None}} if re.search(r"\bbucket\b", query) else {}


class Answer(BaseHTTPRequestHandler):
    server: WandbServer

    def do_GET(self) -> None:
        self.receive()
        self.send({})

    def do_PUT(self) -> None:
        self.receive()
        self.send({})

    def do_POST(self) -> None:
        body = self.receive()
        if self.path != "/graphql":
            return self.send({})
        asked = json.loads(body)
        return self.send({"data": self.server.answer_to(asked["query"], asked.get("variables") or {})})

    def receive(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.received.append((self.path, body))
        return body

    def send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
