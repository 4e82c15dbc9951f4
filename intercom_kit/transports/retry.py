"""Backoff that fits Intercom: a transport for httpx that repeats a call only where that is safe and may help.

    http = httpx.Client(transport=RetryTransport(FallbackTransport(cache)))

- Only reads and searches are repeated: nobody knows whether a write that failed was carried out.
- 429: once the window has ended, as X-RateLimit-Reset says, plus a random part of JITTER_S, since retries that all wake
  at the reset collide again. A shorter backoff under a window of ten seconds only burns retries.
- 5xx, 408 and no answer: one retry, after about half a second.
- Retry-After is honoured where it is sent. What would take longer than patience_s is not waited for.
- Retries are a share of the calls: when much fails, repeating it all is what keeps a server down.
"""

import random
import re
import threading
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import tenacity

from intercom_kit.transports.fallback import NO_ANSWER
from intercom_kit.transports.flow import AsyncCarriedTransport, CarriedTransport
from intercom_kit.transports.last_good import is_read

BUDGET = 0.1
RESERVE = 10.0  # retries that may come before the share has earned them
PATIENCE_S = 20.0
JITTER_S = 5.0
TRIES_LIMITED, TRIES_FAILED = 3, 2  # of one call, when it is answered 429; when it fails otherwise

_NUMBER = re.compile(r"\s*[0-9]{1,11}\s*")


class RetryTransport(CarriedTransport):
    """Repeats the calls of an httpx.Client.

    transport: carries the calls; unless given, one as httpx makes it, through the environment's proxies. budget:
    retries as a share of calls, 0 to 1. patience_s: the longest wait before a retry, seconds. sleep: takes seconds.
    retries: how many there were.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport | None = None,
        *,
        budget: float = BUDGET,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(transport)
        self._policy = _Policy(budget, patience_s)
        self._sleep = sleep

    @property
    def retries(self) -> int:
        """How many retries there were."""
        return self._policy.retries

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the call on, again where that is safe and may help; what the last attempt gave is given."""
        carrier = self._carriers.carrier(request)
        if not is_read(request):
            return carrier.handle_request(request)
        request.read()
        retrying = tenacity.Retrying(**self._policy.arguments(), sleep=self._sleep, before_sleep=_discard)
        return retrying(carrier.handle_request, request)


class AsyncRetryTransport(AsyncCarriedTransport):
    """Does in an httpx.AsyncClient what RetryTransport does."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        budget: float = BUDGET,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(transport)
        self._policy = _Policy(budget, patience_s)
        self._more: dict[str, Any] = {"sleep": sleep} if sleep else {}

    @property
    def retries(self) -> int:
        """How many retries there were."""
        return self._policy.retries

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the call on, again where that is safe and may help; what the last attempt gave is given."""
        carrier = self._carriers.carrier(request)
        if not is_read(request):
            return await carrier.handle_async_request(request)
        await request.aread()
        retrying = tenacity.AsyncRetrying(**self._policy.arguments(), before_sleep=_discard_async, **self._more)
        return await retrying(carrier.handle_async_request, request)


class _Policy:
    """When to try again and how long to wait, with a budget shared by all calls of a transport."""

    def __init__(self, budget: float, patience_s: float) -> None:
        self.retries = 0
        self._budget, self._patience_s = budget, patience_s
        self._saved = RESERVE
        self._lock = threading.Lock()

    def arguments(self) -> dict[str, Any]:
        """Return tenacity's arguments for one call, which earns its share of a retry."""
        with self._lock:
            self._saved = min(self._saved + self._budget, RESERVE)
        return {
            "retry": _may_help,
            "wait": _wait_s,
            "stop": self._stop,
            "retry_error_callback": lambda state: state.outcome.result(),
        }

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        """Tell whether this attempt was the last one; if not, the retry is paid for."""
        tries = TRIES_LIMITED if _status(state) == 429 else TRIES_FAILED
        if state.attempt_number >= tries or state.upcoming_sleep > self._patience_s:
            return True
        with self._lock:
            if self._saved < 1:
                return True
            self._saved -= 1
            self.retries += 1
        return False


def _may_help(state: tenacity.RetryCallState) -> bool:
    """Tell whether the same call could succeed a little later."""
    error = state.outcome.exception() if state.outcome else None
    if error:
        return isinstance(error, NO_ANSWER)
    status = _status(state)
    return status in (408, 429) or status >= 500


def _wait_s(state: tenacity.RetryCallState) -> float:
    """Return how long to wait, in seconds, from what the answer says."""
    luck = random.random()  # noqa: S311  # it spreads calls, and keeps no secret
    status = _status(state)
    headers = _response(state).headers if status else {}
    asked_s = _retry_after_s(headers.get("retry-after", ""))
    if asked_s is not None:
        return asked_s + luck
    if status != 429:
        return 0.25 + luck / 2
    reset = headers.get("x-ratelimit-reset", "")
    if _NUMBER.fullmatch(reset):
        return max(0.0, int(reset) - time.time()) + luck * JITTER_S
    return float(2**state.attempt_number * (0.5 + luck))


def _retry_after_s(value: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; None where it asks for nothing."""
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _response(state: tenacity.RetryCallState) -> httpx.Response:
    response: httpx.Response = state.outcome.result()  # type: ignore[union-attr]  # there is one after an attempt
    return response


def _status(state: tenacity.RetryCallState) -> int:
    """Return the answer's status, 0 where none came."""
    failed = state.outcome is None or state.outcome.failed
    return 0 if failed else _response(state).status_code


def _discard(state: tenacity.RetryCallState) -> None:
    """Give the connection of an answer that nobody will read back to its pool."""
    if _status(state):
        _response(state).close()


async def _discard_async(state: tenacity.RetryCallState) -> None:
    if _status(state):
        await _response(state).aclose()
