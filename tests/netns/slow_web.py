"""An HTTP server whose answers are in files. Run by path: `slow_web.py PORT FOLDER`.

Each GET is answered with the file `body`. What the file `mode` says comes first: `ok`,
`wrong` (status 500), `slow` (half of the body, and the rest a second later) or `never`.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """One request."""

    folder = Path()

    def do_GET(self) -> None:
        mode = (self.folder / "mode").read_text().strip()
        while mode == "never":
            time.sleep(0.1)
            mode = (self.folder / "mode").read_text().strip()
        body = (self.folder / "body").read_bytes()
        self.send_response(500 if mode == "wrong" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2 if mode == "slow" else 0
        self.wfile.write(body[:half])
        if half:
            self.wfile.flush()
            time.sleep(1.0)
        self.wfile.write(body[half:])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    port, Handler.folder = int(sys.argv[1]), Path(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
