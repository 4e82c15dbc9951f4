"""What a call is: its path and route, whether it only reads, and what its answer's body says unpacked."""

import zlib

import httpx

from intercom_kit.protocol import route_of


def is_read(request: httpx.Request) -> bool:
    """Tell whether a call only reads: searches do, although they are sent by POST."""
    return request.method in ("GET", "HEAD", "OPTIONS") or (
        request.method == "POST" and route_within(request).endswith("/search")
    )


def route_within(request: httpx.Request) -> str:
    """Return the call's route, without what a base URL has before it."""
    route = route_of(path_of(request))
    while route.startswith("/{id}/"):
        route = route.removeprefix("/{id}")
    return route


def path_of(request: httpx.Request) -> str:
    """Return the call's path as it is sent, without the query."""
    return request.url.raw_path.partition(b"?")[0].decode("ascii", "replace")


def decoded(content: bytes, encoding: str, limit: int) -> bytes | None:
    """Return a body decompressed, its first limit bytes at most; None where its encoding is broken or another one."""
    if encoding.strip().lower() in ("", "identity"):
        return content[:limit]
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return None
    try:
        return zlib.decompressobj(47).decompress(content, limit)
    except zlib.error:
        return None
