"""A git repository over http on loopback, as a hosting service serves it: with a user and a password."""

import base64
import functools
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class GitHandler(BaseHTTPRequestHandler):
    """Hands requests to ``git http-backend``, as a web server does."""

    def __init__(self, *args, root: Path, credentials: str, seen: list[str], **kwargs) -> None:
        self.root, self.credentials, self.seen = root, credentials, seen
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def log_message(self, *args) -> None:
        pass

    def serve(self) -> None:
        given = self.headers.get("Authorization", "")
        self.seen.append(base64.b64decode(given.removeprefix("Basic ")).decode() if given else "")
        if self.seen[-1] != self.credentials:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="data"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        url = urlsplit(self.path)
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class QuietFiles(SimpleHTTPRequestHandler):
    """Plain files: what an http DVC remote is."""

    def log_message(self, *args) -> None:
        pass


@contextmanager
def serving(handler) -> Iterator[str]:
    """Serve on a free port of the loopback interface; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def git_server(root: Path, credentials: str) -> Iterator[tuple[str, list[str]]]:
    """Serve the git repositories in ``root``; gives the address and the credentials that came, one a request."""
    seen: list[str] = []
    with serving(functools.partial(GitHandler, root=root, credentials=credentials, seen=seen)) as url:
        yield url, seen


@contextmanager
def file_server(root: Path) -> Iterator[str]:
    """Serve the files in ``root``; gives the address."""
    with serving(functools.partial(QuietFiles, directory=str(root))) as url:
        yield url
