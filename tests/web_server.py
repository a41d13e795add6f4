"""A web server on this machine that can misbehave."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class WebServer:
    """Serves `files` by name; requests are logged as (method, file, Range header)."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    stop_after: int | None = None
    """Every answer ends after as many bytes, whatever its length was said to be."""
    drip: float = 0.0
    """Seconds between the bytes of an answer; 0 sends them at once."""
    ranges: bool = True
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each file, beside those that every answer has."""
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    """The Authorization header of each request."""


@pytest.fixture
def web_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            name, wanted = self.path.lstrip("/"), self.headers.get("Range")
            served.log.append((self.command, name, wanted))
            served.tokens.append(self.headers.get("Authorization"))
            if name not in served.files:
                self.send_error(404)
                return
            content, first = served.files[name], 0
            if wanted and served.ranges:
                first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - first))
            for header in served.headers.get(name, {}).items():
                self.send_header(*header)
            self.end_headers()
            if not body:
                return
            content = content[first:][: served.stop_after]
            if not served.drip:
                self.wfile.write(content)
                return
            try:
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    time.sleep(served.drip)
            except OSError:  # the client has gone
                pass

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = WebServer(f"http://127.0.0.1:{server.server_address[1]}/")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()
