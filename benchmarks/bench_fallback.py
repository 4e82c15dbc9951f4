"""What the fallback costs a call while all is well, and what the breaker saves while calls hang.

    python benchmarks/bench_fallback.py [calls] [timeout_s]

Prints medians in microseconds a call for a transport that answers at once (the fallback's own cost), then what calls
wait for in an outage in which nothing answers, from eight threads, with the breaker and without.
"""

import socket
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import httpx

from intercom_kit.drill import objects
from intercom_kit.transports.fallback import Breaker, FallbackTransport
from intercom_kit.transports.store import Cache

THREADS = 8
CONTACT = httpx.Response(200, json=objects.contact(1)).content


class _AtOnce(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(200, stream=httpx.ByteStream(CONTACT))


def _cost(transport: httpx.BaseTransport, calls: int) -> float:
    with httpx.Client(transport=transport, base_url="http://127.0.0.1") as client:
        spent = []
        for number in range(calls + 100):
            start = perf_counter()
            client.get(f"/contacts/{objects.contact_id(number)}")
            spent.append((perf_counter() - start) * 1e6)
    return statistics.median(spent[100:])


def _waits(cache: Cache, url: str, timeout_s: float, breaker: Breaker) -> list[float]:
    with httpx.Client(transport=FallbackTransport(cache, breaker=breaker), base_url=url, timeout=timeout_s) as client:

        def call(_: int) -> float:
            start = perf_counter()
            client.get(f"/contacts/{objects.contact_id(0)}").raise_for_status()
            return perf_counter() - start

        with ThreadPoolExecutor(THREADS) as pool:
            return sorted(pool.map(call, range(5 * THREADS)))


def main(calls: int = 3000, timeout_s: float = 5.0) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        plain = _cost(_AtOnce(), calls)
        for name, cache in (("in memory", Cache()), ("in a file", Cache(Path(folder) / "cache.sqlite"))):
            kept = _cost(FallbackTransport(cache, transport=_AtOnce()), calls)
            print(f"{name}: {plain:.0f} µs without, {kept:.0f} µs with the fallback: {kept - plain:.0f} µs a call")
    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        url, cache = f"http://127.0.0.1:{silent.getsockname()[1]}", Cache()
        with httpx.Client(transport=FallbackTransport(cache, transport=_AtOnce()), base_url=url) as client:
            client.get(f"/contacts/{objects.contact_id(0)}")
        for name, breaker in (("never open", Breaker(failures=10**9)), ("as it comes", Breaker())):
            waits = _waits(cache, url, timeout_s, breaker)
            mean, median, longest = statistics.mean(waits), waits[len(waits) // 2], waits[-1]
            print(f"nothing answers, timeout {timeout_s:g} s, breaker {name}:", end=" ")
            print(f"a call waits {mean:.2f} s on average, {median:.2f} s (median), {longest:.2f} s (longest)")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]), *(float(word) for word in sys.argv[2:3]))
