"""What recording costs a call: the same calls with and without the recorder, in alternation, in one process.

    python benchmarks/bench_recorder.py [calls]

Prints medians and their difference in microseconds a call, for a transport that answers at once (the recorder's own
cost) and for real HTTP on loopback (what it adds to a call as fast as calls get).
"""

import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter

import httpx

from intercom_kit.transports.recorder import RecordingTransport

BODY = b'{"type":"contact","id":"63a07ddf05a32042dffac965"}'
HEADERS = {
    "X-Request-Id": "b2i3mhcboc6pcbe33q80",
    "X-RateLimit-Limit": "1667",
    "X-RateLimit-Remaining": "1500",
    "X-RateLimit-Reset": "1496851020",
}
PATH = "/contacts/63a07ddf05a32042dffac965"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one segment an answer, or delayed acknowledgements would be measured

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in (HEADERS | {"Content-Length": str(len(BODY))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


class _AtOnce(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(200, headers=HEADERS, stream=httpx.ByteStream(BODY))


def _compare(name: str, plain: Callable[[], object], recorded: Callable[[], object], calls: int) -> None:
    spent: dict[bool, list[float]] = {False: [], True: []}
    for number in range(calls * 2 + 100):
        start = perf_counter()
        (recorded if number % 2 else plain)()
        if number >= 100:
            spent[bool(number % 2)].append((perf_counter() - start) * 1e6)
    without, with_it = (statistics.median(spent[key]) for key in (False, True))
    print(  # a benchmark prints
        f"{name}: {without:.0f} µs without, {with_it:.0f} µs with; +{with_it - without:.0f} µs a call, "
        f"ratio {with_it / without:.2f} (medians of {calls})"
    )


def main(calls: int) -> None:
    """Run both comparisons."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    child = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    child.start()  # a process of its own: two threads of one process would wait for each other
    url = f"http://127.0.0.1:{server.server_port}{PATH}"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "requests.jsonl"
        for name, transport in (("answers at once", _AtOnce()), ("loopback HTTP", None)):
            with (
                httpx.Client(transport=transport) as plain,
                httpx.Client(transport=RecordingTransport(log, app="bench", transport=transport)) as recorded,
            ):
                _compare(name, lambda: plain.get(url), lambda: recorded.get(url), calls)
        print(f"{log.stat().st_size / len(log.read_bytes().splitlines()):.0f} bytes a row")
    child.terminate()
    server.server_close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
