"""HTTPX transports for production code: recorder, retry, fallback cache, warm-up.

    from intercom_kit.transports import FallbackTransport, RecordingTransport, RetryTransport

Each works under httpx.Client and httpx.AsyncClient, and under those of httpx2. `warm.warm` fills the fallback's cache.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from intercom_kit.transports.fallback import Breaker, FallbackTransport
    from intercom_kit.transports.recorder import RecordingTransport
    from intercom_kit.transports.retry import RetryTransport
    from intercom_kit.transports.store import Cache

__all__ = ["Breaker", "Cache", "FallbackTransport", "RecordingTransport", "RetryTransport"]
_MODULES = {
    "Breaker": "fallback",
    "Cache": "store",
    "FallbackTransport": "fallback",
    "RecordingTransport": "recorder",
    "RetryTransport": "retry",
}


def __getattr__(name: str) -> object:
    """Import what is asked for and nothing else: a recorder needs no database. 0.1.0 had an Async… of each."""
    plain = name.removeprefix("Async")
    if plain not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[plain]}"), plain)
