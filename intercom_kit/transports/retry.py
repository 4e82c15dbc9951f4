"""Backoff that fits Intercom: a transport for httpx that repeats a call only where that is safe and may help.

    http = httpx.Client(transport=RetryTransport(FallbackTransport(cache)))

- Only reads and searches are repeated: nobody knows whether a write that failed took effect.
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
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import count

import httpx

from intercom_kit.protocol import rate_limit
from intercom_kit.transports.flow import Io, Sleep, Transport, is_read

BUDGET = 0.1
RESERVE = 10.0  # retries that may come before the share has earned them
PATIENCE_S = 20.0
JITTER_S = 5.0
TRIES_LIMITED, TRIES_FAILED = 3, 2  # of one call, when it is answered 429; when it fails otherwise

_SECONDS = re.compile(r"\s*[0-9]{1,11}\s*")


class RetryTransport(Transport):
    """Repeats the calls of an httpx.Client or AsyncClient.

    transport: makes the calls; unless given, one as httpx makes it, through the environment's proxies. budget:
    retries as a share of calls, 0 to 1. patience_s: the longest wait before a retry, seconds. sleep: takes seconds;
    under an AsyncClient its result is awaited. retries: how many there were.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        *,
        budget: float = BUDGET,
        patience_s: float = PATIENCE_S,
        sleep: Sleep | None = None,
    ) -> None:
        super().__init__(transport)
        self.retries = 0
        self._budget, self._patience_s, self._sleep = budget, patience_s, sleep
        self._saved = RESERVE
        self._lock = threading.Lock()

    async def flow(self, request: httpx.Request, io: Io) -> httpx.Response:
        """Pass the call on, again where that is safe and may help; what the last attempt gave is given."""
        if not is_read(request):
            return await io.send(request)
        await io.read_request(request)
        with self._lock:
            self._saved = min(self._saved + self._budget, RESERVE)
        for attempt in count(1):
            outcome: httpx.Response | Exception
            try:
                outcome = await io.send(request)
            except io.no_answer as error:
                outcome = error
            wait_s = _wait_s(outcome, attempt)
            if wait_s is None or wait_s > self._patience_s or not self._pay():
                break
            if not isinstance(outcome, Exception):  # nobody will read it: its connection goes back to the pool
                await io.close(outcome)
            await io.sleep(wait_s, self._sleep)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _pay(self) -> bool:
        """Take a retry from what was saved, and tell whether there was one."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            self.retries += 1
            return True


def _wait_s(outcome: httpx.Response | Exception, attempt: int) -> float | None:
    """Return after how many seconds to try again, from what the answer says; None where that is of no use."""
    jitter = random.random()  # noqa: S311  # it spreads calls, and keeps no secret
    status, headers = (None, {}) if isinstance(outcome, Exception) else (outcome.status_code, outcome.headers)
    if status is not None and status not in (408, 429) and status < 500:
        return None
    if attempt >= (TRIES_LIMITED if status == 429 else TRIES_FAILED):
        return None
    requested_s = retry_after_s(headers.get("retry-after", ""))
    if requested_s is not None:
        return requested_s + jitter
    if status != 429:
        return 0.25 + jitter / 2
    quota = rate_limit(headers)
    if quota and quota.reset is not None:
        return max(0.0, quota.reset - time.time()) + jitter * JITTER_S
    return float(2**attempt * (0.5 + jitter))


def retry_after_s(value: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; None where it asks for nothing.

    A date is in GMT whatever zone it lacks or makes up (RFC 9110, 5.6.7).
    """
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
