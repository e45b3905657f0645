"""A gate before an MLflow server: it lets requests through, holds them up, or lets each wait a while."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


class Gate:
    """What stands before a server.

    :param target: URL of the server
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.seconds = 0.0
        """How long each request waits."""
        self.logins: set[str | None] = set()
        """What the requests were authorized with."""
        self.came = threading.Event()
        """Whether a request came."""
        self._is_open = threading.Event()
        self._is_open.set()
        self.address = ("127.0.0.1", 0)

    @property
    def url(self) -> str:
        """The URL of the gate."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def close(self) -> None:
        """Answer nobody from now on."""
        self.came.clear()
        self._is_open.clear()

    def open(self) -> None:
        """Answer, also whoever waits."""
        self._is_open.set()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Return the server's answer, when the gate lets the request through."""
        self.came.set()
        self._is_open.wait(120)
        time.sleep(self.seconds)
        self.logins.add(headers.pop("authorization", None))
        return httpx.request(method, f"{self.target}{path}", headers=headers, content=body, timeout=60, trust_env=False)


@contextmanager
def gate_before(target: str) -> Iterator[Gate]:
    """Put a gate before a server, on a port of its own (``Gate.address``)."""
    gate = Gate(target)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(sent.pop("content-length", "0")))
            sent.pop("host", None)
            sent["accept-encoding"] = "identity"
            answer = gate.answer(self.command, self.path, sent, body)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("content-type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # whoever asked went away

    with Server(("127.0.0.1", 0), Handler) as server:
        gate.address = ("127.0.0.1", server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield gate
        finally:
            gate.open()
            server.shutdown()
            thread.join()
