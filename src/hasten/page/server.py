"""The live page's server: this machine only, one secret address, nobody else's pages.

- It listens on 127.0.0.1. The address holds a random token; without it there is nothing.
- Another site whose name was pointed at 127.0.0.1 (DNS rebinding) comes with its own Host: refused.
- Another site's page that posts here (CSRF) comes with its own Origin, or none: refused. Answers allow no origin to
  read them, and no page to frame them.
- Bodies are small JSON objects of bounded values (`hasten.page.scenario`); nothing in a request is a path.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

from hasten.jsontext import parse_json
from hasten.page.document import RUN_SCRIPTS, embedded, frame
from hasten.page.player import Player, StaleError
from hasten.page.scenario import FILE_BYTES, Control, Value, scenario

HOST = "127.0.0.1"
STYLES = ("page.css", "live.css")
SCRIPTS = (*RUN_SCRIPTS, "live.js", "start.js")
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
}
TIMEOUT_S = 30.0


class LiveServer(ThreadingHTTPServer):
    """Serves one page and plays what it asks for. Raises OSError when the port is taken."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, port: int, controls: Sequence[Control], start: dict[str, Value]) -> None:
        super().__init__((HOST, port), _Handler)
        self.controls = tuple(controls)
        self.token = secrets.token_urlsafe(24)
        self.player = Player()
        data = {
            "kind": "live",
            "version": version("hasten"),
            "controls": [control.to_dict() for control in self.controls],
            "scenario": start,
        }
        self.page = frame("hasten ui", data, scripts=SCRIPTS, styles=STYLES, connect="'self'").encode()

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a Host header may say."""
        return tuple(f"{name}:{self.server_port}" for name in (HOST, "localhost"))

    @property
    def address(self) -> str:
        """Where the page is, token and all."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "hasten", ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        if self._is_welcome(""):
            self._answer(200, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        if not self._is_welcome("run"):
            return
        try:
            length = int(self.headers.get("Content-Length", "-1"))
        except ValueError:
            length = -1
        origins = [f"http://{host}" for host in self.server.hosts]
        if self.headers.get("Origin") not in origins:
            self._refuse(403, "another origin")
        elif self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            self._refuse(403, "another site")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(415, "send application/json")
        elif not 0 <= length <= FILE_BYTES:
            self._refuse(413 if length > FILE_BYTES else 411, f"send 0 to {FILE_BYTES} bytes")
        else:
            self._play(self.rfile.read(length))

    def _play(self, body: bytes) -> None:
        try:
            values = scenario(parse_json(body), self.server.controls)
            curves, rest = self.server.player.play(values)
        except StaleError:
            self._say(409, {"stale": True})
        except ValueError as error:  # InputError too
            self._say(422, {"error": " ".join(str(error).split())[:500]})
        else:
            self._tell(curves, rest)

    def _tell(self, curves: dict[str, Any], rest: Callable[[], dict[str, Any]]) -> None:
        """A line of JSON with what curves are drawn from, and one with the rest where it still matters."""
        self._head(200, {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"})
        self._chunk(f"{embedded(curves)}\n".encode())
        with contextlib.suppress(StaleError):
            self._chunk(f"{embedded(rest())}\n".encode())
        self._chunk(b"")

    def _is_welcome(self, name: str) -> bool:
        """Whether the request is for this machine and knows the token; refuses it otherwise."""
        if self.headers.get("Host") not in self.server.hosts or len(self.headers.get_all("Host", [])) != 1:
            self._refuse(421, "another host")
            return False
        wanted = f"/{self.server.token}/{name}"
        if not hmac.compare_digest(self.path.encode(), wanted.encode()):
            self._refuse(404, "nothing here")
            return False
        return True

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True  # a body may be left unread
        self._say(status, {"error": why})

    def _say(self, status: int, value: Any) -> None:
        self._answer(status, embedded(value).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in {**HEADERS, **headers}.items():
            self.send_header(name, text)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _chunk(self, body: bytes) -> None:
        """A part of a body sent in chunks (RFC 9112, section 7.1); an empty one is the last."""
        self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""
