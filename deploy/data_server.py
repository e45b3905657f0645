"""Serve a folder over HTTP, read only: ``data_server.py PORT FOLDER``. Run inside the image ``trainer``."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class DataServer(ThreadingHTTPServer):
    """Serves files. DVC asks for a file, looks at the head of the answer and hangs up: no failure of the server."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main(arguments: list[str]) -> None:
    """Serve until the process is stopped."""
    port, folder = arguments
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with DataServer(("", int(port)), handler) as server:
        sys.stdout.write(f"Serving {folder} on port {server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
