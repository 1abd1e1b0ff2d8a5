"""A metering service that takes everything and remembers nothing but numbers, in a process of its own."""

import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.servers import ROOT


class _Taking(socketserver.StreamRequestHandler):
    """Reads requests and says 204, as fast as Python can; who would list what was taken may not."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            is_post = line.startswith(b"POST")
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            self.rfile.read(length)
            if is_post:
                self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            else:
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")


@contextmanager
def taking_service() -> Iterator[str]:
    """Its events endpoint, until the block ends."""
    command = [sys.executable, "-m", "tests.bench.taking"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(service.stdout.readline())}/v3/openmeter/events"
        finally:
            service.terminate()


def main() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Taking) as server:
        server.daemon_threads = True
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
