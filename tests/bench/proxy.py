"""An HTTP proxy before MLflow that drops one answer after the server has given it."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

READS = ("/search", "/get", "get-by-name", "get-latest-versions")
"""Ends of the paths of MLflow's reading requests, of which some are POST."""


class DroppingProxy:
    """Passes requests on; the connection of one is closed instead of answered.

    :param target: URL of the server
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.dropped: str | None = None
        self._left = -1
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server = http.client.HTTPConnection(proxy.target, timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                server.request(self.command, self.path, body, headers)
                answer = server.getresponse()
                content = answer.read()
                server.close()
                if answer.status < 300 and proxy._drops(self.command, self.path):
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def drop(self, number: int) -> None:
        """Drop the answer to the writing request of this number, counted from here; ``dropped`` then names it."""
        with self._lock:
            self._left, self.dropped = number, None

    def _drops(self, method: str, path: str) -> bool:
        path = urlsplit(path).path
        if method == "GET" or path.endswith(READS):
            return False
        with self._lock:
            self._left -= 1
            if self._left == -1:
                self.dropped = f"{method} {path.removeprefix('/api/2.0/mlflow')[-30:]}"
                return True
        return False

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
