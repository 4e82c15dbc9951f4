"""Hours of traffic in virtual time: the request log that our apps would have written during a scenario.

The calls are those of `workload.py`, the answers those of the scenario, the limiter is the loopback Intercom's: a
million calls take a few seconds. Even a healthy log has a trickle of errors, which come in clusters and may outlast a
retry.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from intercom_kit.drill.limiter import CALL, QUOTA, Calls, grants, storm
from intercom_kit.drill.scenarios import Scenario
from intercom_kit.drill.workload import (
    ABOUT,
    APPS,
    CONTACTS,
    CONVERSATIONS,
    RETRIES,
    ROUTES,
    TIMEOUT_MS,
    Bools,
    Floats,
    Span,
    arrivals,
    utc_times,
    wander,
    work_ms,
)
from intercom_kit.errors import KitError
from intercom_kit.protocol import REQUEST_COLUMNS, WINDOW_S
from intercom_kit.text import reason_of

Ints = NDArray[np.int64]

REFUSED_MS = 45.0  # a 429 is answered without work
BACKOFF_S = 2.0  # naive: far shorter than the window it should wait for
RATE_OF_QUOTA = 0.072  # calls a second of a small log, as a share of the quota of a window
MOST_CALLS = 50_000_000  # they are made in memory
ERROR_SHARE = 0.001  # of calls that fail although nothing is wrong
STUBBORN_SHARE = 0.3  # of their retries fail again: a broken record stays broken
TROUBLES = ((500, "server_error"), (503, "service_unavailable"), (502, None), (0, "timeout"), (0, "reset"))
BUSINESS = ((404, "not_found", 0.012), (422, "parameter_invalid", 0.003))  # the callers' normal business
PACKING = {".gz": ", COMPRESSION gzip", ".zst": ", COMPRESSION zstd"}
FORMS = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER", ".ndjson": "FORMAT json", ".jsonl": "FORMAT json"}


@dataclass(frozen=True, eq=False)
class Traffic:
    """A generated request log and its hidden truth.

    frame: the columns of records.REQUEST_COLUMNS, sorted by timestamp. onset, recovery: when the scenario's effects on
    calls began and ended, UTC; None where that did not happen within the log. seed: makes the same log again.
    """

    frame: pd.DataFrame
    onset: datetime | None
    recovery: datetime | None
    seed: int


def generate(
    scenario: Scenario,
    *,
    hours: float,
    rate: float,
    seed: int,
    end: datetime | None = None,
    onset: datetime | None = None,
    quota: int = QUOTA,
) -> Traffic:
    """Play a scenario for some hours; the same arguments give the same log.

    hours: the log's span, up to `end` (default: now). rate: calls a second of our apps, averaged over a day. onset:
    when scenario time is 0 (default: drawn, after a healthy span). quota: requests of one app in one window.
    Raises KitError when a number makes no sense.
    """
    if not (hours > 0 and rate > 0 and quota > 0 and hours * 3600 * rate <= MOST_CALLS):
        most = f"and at most {MOST_CALLS:,} calls. Try --hours 6 --rate 80."
        raise KitError(f"A log needs a span, a rate and a quota above zero, {most}")
    if seed < 0:
        raise KitError("A seed is a whole number from 0 on. Try --seed 1, or leave it out.")
    rng = np.random.default_rng(seed)
    last = (end or datetime.now(UTC)).astimezone(UTC)
    first = last - timedelta(hours=hours)
    zero = (onset or _draw_onset(rng, scenario, first, last)).astimezone(UTC)
    span = Span((first - zero).total_seconds(), (last - zero).total_seconds(), zero.timestamp())
    play = _Play(rng, scenario, span, quota)
    calls = play.calls(arrivals(rng, span, rate, scenario.effects, quota))
    began, ended = (zero + timedelta(seconds=second) for second in scenario.extent_s)
    return Traffic(
        frame=play.log(calls, salt=seed.to_bytes(16, signed=True)),
        onset=began if began < min(ended, last) else None,
        recovery=ended if began < ended < last else None,
        seed=seed,
    )


def make_log(scenario: Scenario, path: Path, *, hours: float, rate: float, seed: int | None = None) -> Traffic:
    """Generate a log until now, by a seed that is drawn unless given, and write it; raises what both steps raise."""
    if not path.parent.is_dir():  # known before the traffic is made
        raise KitError(f"{path} cannot be written: its folder is not there. Make it first.")
    traffic = generate(scenario, hours=hours, rate=rate, seed=secrets.randbits(32) if seed is None else seed)
    write_log(traffic.frame, path)
    return traffic


def write_log(frame: pd.DataFrame, path: Path | str) -> None:
    """Write a request log as Parquet, CSV or NDJSON, by the path's suffix; the last two also as .gz or .zst.

    Raises KitError for any other suffix, and where the file cannot be written.
    """
    import duckdb  # here, as only this writes a file

    target = Path(path)
    packing = PACKING.get(target.suffix, "")
    suffix = target.with_suffix("").suffix if packing else target.suffix
    if suffix not in FORMS or (packing and suffix == ".parquet"):
        raise KitError(f"No form of request log is named like {target.name!r}. Use .parquet, .csv or .ndjson.")
    quoted = str(target).replace("'", "''")
    if suffix != ".parquet":  # text: the engine would write the time in the machine's own zone
        moments = frame["timestamp"].dt.tz_localize(None).to_numpy()
        frame = frame.assign(timestamp=np.datetime_as_string(moments, unit="us", timezone="UTC"))
    try:
        with duckdb.connect() as connection:
            connection.register("frame", frame)
            connection.execute(f"COPY frame TO '{quoted}' ({FORMS[suffix]}{packing})")
    except duckdb.IOException as error:
        raise KitError(
            f"The log cannot be written ({reason_of(error)}). Choose another path with --write-log."
        ) from None


@contextmanager
def small_log(
    scenario: Scenario, *, hours: float, quota: int, end: datetime, onset: datetime | None = None
) -> Iterator[Path]:
    """Write a log that is made in a second, always the same, and give its path until it is not needed any more.

    quota: of one app in one window; demand goes with it.
    """
    traffic = generate(scenario, hours=hours, rate=RATE_OF_QUOTA * quota, quota=quota, seed=1, end=end, onset=onset)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "requests.parquet"
        write_log(traffic.frame, path)
        yield path


def _draw_onset(rng: np.random.Generator, scenario: Scenario, first: datetime, last: datetime) -> datetime:
    """Draw an onset that leaves a healthy span before it and, where the span allows, one after the recovery."""
    span_s = (last - first).total_seconds()
    latest_s = max(0.3 * span_s, 0.85 * span_s - scenario.extent_s[1])
    return first + timedelta(seconds=float(rng.uniform(0.3 * span_s, latest_s)))


class _Play:
    """One scenario being played.

    A frame of calls has, beside the columns of `arrivals`: attempt (0 for the first), risk (of failing although nothing
    is wrong) and, once answered, status (0: none), error (its number in `errors`), duration (ms), met (an effect
    answered), counted (by the limiter, so that the answer carries its headers), signed (it carries a request id).
    """

    def __init__(self, rng: np.random.Generator, scenario: Scenario, span: Span, quota: int) -> None:
        self.rng, self.scenario, self.span = rng, scenario, span
        self.quota = quota
        self.errors: dict[str | None, int] = {None: -1}
        self.trouble = ERROR_SHARE * rng.gamma(0.7, 1 / 0.7, span.minutes)
        self.drift = np.exp(wander(rng, span.minutes, 0.06))
        length_s = span.end_s - span.start_s
        self.hiccups = np.sort(rng.uniform(span.start_s, span.end_s, rng.poisson(length_s / 7200)))

    def calls(self, work: pd.DataFrame) -> pd.DataFrame:
        """All calls that the work leads to, retries included, answered and sorted by time."""
        risk = self.trouble[self.span.minute(work["at"].to_numpy())]
        rounds = [self.answer(work.assign(attempt=np.int8(0), risk=risk))]
        for attempt in range(1, max(RETRIES) + 1):
            rounds.append(self.answer(self.again(rounds[-1], attempt)))
        return self.limit(_sorted(rounds))

    def again(self, calls: pd.DataFrame, attempt: int) -> pd.DataFrame:
        """The failed calls that their app sends again after its backoff."""
        status: Ints = calls["status"].to_numpy()
        failed = np.isin(status, (0, 408, 429)) | (status >= 500)
        again = calls[failed & (RETRIES[calls["app"]] >= attempt)].copy()
        again["at"] += again["duration"] / 1000 + BACKOFF_S + 0.3 * self.rng.random(len(again))
        again["risk"] = np.where(again["met"], ERROR_SHARE, STUBBORN_SHARE)
        again["attempt"] = np.int8(attempt)
        return again[again["at"] < self.span.end_s]

    # What a call meets

    def answer(self, calls: pd.DataFrame) -> pd.DataFrame:
        calls = calls.assign(status=np.int16(200), error=np.int16(-1), met=False, counted=True, signed=True)
        calls["duration"] = work_ms(self.rng, self.span, calls, self.drift, self.hiccups)
        for status, error, share in BUSINESS:
            self.put(calls, self.rng.random(len(calls)) < share, status, error)
        troubled = self.rng.random(len(calls)) < calls["risk"].to_numpy()
        kind = self.rng.integers(len(TROUBLES), size=len(calls))
        for number, (status, trouble) in enumerate(TROUBLES):
            self.put(calls, troubled & (kind == number), status, trouble, counted=False, signed=trouble is not None)
        self.meet_effects(calls)
        limit = TIMEOUT_MS[calls["app"]]
        hung = ((calls["error"] == self.code("timeout")) | (calls["duration"] > limit)).to_numpy()
        self.put(calls, hung, 0, "timeout", counted=False, duration=limit[hung])
        return calls

    def put(self, calls: pd.DataFrame, where: Bools, status: int, error: str | None, **columns: bool | Floats) -> None:
        """Set these columns where the flag is; an array holds a value for each such row."""
        for column, value in {"status": status, "error": self.code(error), **columns}.items():
            calls.loc[where, column] = value

    def code(self, error: str | None) -> int:
        return self.errors.setdefault(error, len(self.errors) - 1)

    def meet_effects(self, calls: pd.DataFrame) -> None:
        """Let the effects answer, each its share; a call under way at the onset can meet one before it ends."""
        seen = calls["at"].to_numpy() + calls["duration"].to_numpy() / 1000 * self.rng.random(len(calls))
        draw = self.rng.random(len(calls))
        for effect in self.scenario.effects:
            if effect.is_load:
                continue
            here = np.array([not effect.routes or known.route in effect.routes for known in ROUTES])
            share = np.where(here[calls["route"]], effect.share_at(seen), 0.0)
            met = (draw >= 0) & (draw < share)
            draw -= share
            calls.loc[met, "met"] = True
            calls.loc[met, "duration"] += effect.delay_at(seen[met])
            is_ours = effect.body == "error_list"
            error = "timeout" if effect.hang else effect.code if is_ours else None
            if effect.refuse and not effect.hang:
                error = "dns" if self.scenario.dns_fails else "connect"
                calls.loc[met, "duration"] = 1 + self.rng.exponential(4.0, met.sum())
            if effect.fails:
                self.put(calls, met, effect.status or 0, error, counted=effect.headers, signed=is_ours)

    def limit(self, calls: pd.DataFrame) -> pd.DataFrame:
        """Let the limiter judge the calls, and add their retries and `remaining`.

        A retry that gets through is answered as the call would have been.
        """
        judged = calls[calls["counted"]]
        retries = storm(self.queue(judged), self.quota, self.load_at, self.retry)
        again = judged.iloc[retries["row"]].assign(at=retries["at"] - self.span.zero, attempt=retries["attempt"])
        calls = _sorted([calls, again])
        counted = calls["counted"].to_numpy(bool)
        granted, remaining = grants(self.queue(calls[counted]), self.quota, self.load_at)
        refused = counted.copy()
        refused[counted] = ~granted
        took = REFUSED_MS * np.exp(0.2 * self.rng.standard_normal(refused.sum()))
        self.put(calls, refused, 429, "rate_limit_exceeded", duration=took)
        calls.loc[counted, "remaining"] = remaining
        return calls

    def queue(self, calls: pd.DataFrame) -> Calls:
        queue = np.empty(len(calls), CALL)
        queue["at"], queue["row"] = calls["at"] + self.span.zero, np.arange(len(calls))
        queue["app"], queue["attempt"] = calls["app"], calls["attempt"]
        return queue

    def load_at(self, unix: Floats) -> Floats:
        return self.scenario.load_at(unix - self.span.zero)[1]

    def retry(self, refused: Calls) -> Calls:
        """The next attempts of refused calls that their apps do not give up."""
        again = refused[RETRIES[refused["app"]] > refused["attempt"]]
        again["at"] += REFUSED_MS / 1000 + BACKOFF_S + 0.3 * self.rng.random(len(again))
        again["attempt"] += 1
        in_time: Calls = again[again["at"] < self.span.end_s + self.span.zero]
        return in_time

    # What was written down

    def log(self, calls: pd.DataFrame, salt: bytes) -> pd.DataFrame:
        """The calls as a request log."""
        unix = calls["at"].to_numpy() + self.span.zero
        reported = calls["counted"]
        route = calls["route"].to_numpy()
        columns = {
            "timestamp": utc_times(unix),
            "app": _named(calls["app"], [app.name for app in APPS]),
            "method": _named(route, [known.method for known in ROUTES]),
            "route": _named(route, [known.route for known in ROUTES]),
            "status_code": _known(calls["status"], calls["status"] > 0),
            "error_type": _named(calls["error"], [str(error) for error in self.errors][1:]),
            "duration_ms": calls["duration"].to_numpy().round(3),
            "request_id": self.request_ids(((calls["status"] > 0) & calls["signed"]).to_numpy()),
            "ratelimit_limit": _known(np.full(len(calls), self.quota), reported),
            "ratelimit_remaining": _known(calls["remaining"], reported),
            "ratelimit_reset": _known((unix // WINDOW_S + 1).astype(np.int64) * WINDOW_S, reported),
            "contact": _hashed(np.where(ABOUT["contact"][route], calls["contact"], -1), CONTACTS, salt + b"c"),
            "conversation": _hashed(
                np.where(ABOUT["conversation"][route], calls["conversation"], -1), CONVERSATIONS, salt + b"v"
            ),
        }
        return pd.DataFrame({name: columns[name] for name in REQUEST_COLUMNS})

    def request_ids(self, signed: Bools) -> "pd.Series[str]":
        """Ids in the form of the captures, 20 letters and digits; null where no answer of the API came."""
        letters, parts = np.frombuffer(b"0123456789abcdefghijklmnopqrstuv", "S1"), [pd.Series([], dtype="str")]
        for part in np.array_split(signed, len(signed) // 250_000 + 1):  # so that memory lasts
            ids = letters[self.rng.integers(32, size=(len(part), 20), dtype=np.uint8)].view("S20").ravel()
            parts.append(pd.Series(np.char.decode(ids, "ascii"), dtype="str").where(part))
        return pd.concat(parts, ignore_index=True)


def _sorted(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True).sort_values("at", kind="stable", ignore_index=True)


def _named(codes: "NDArray[np.integer] | pd.Series[int]", names: list[str]) -> "pd.Categorical[str]":
    """A column of few words; code -1 is null."""
    words = list(dict.fromkeys(names))
    numbers = np.array([*map(words.index, names), -1], np.int16)
    return pd.Categorical.from_codes(numbers[np.asarray(codes)], categories=pd.Index(words, dtype="str"))


def _known(values: "Ints | pd.Series[int]", known: "pd.Series[bool]") -> "pd.Series[int]":
    """A nullable column, null where not known."""
    return pd.Series(np.asarray(values)).astype("Int64").where(known)


def _hashed(numbers: Ints, among: int, salt: bytes) -> "pd.Categorical[str]":
    """Salted hashes of who a call was about; number -1 is null."""
    names = [blake2b(str(number).encode(), digest_size=8, key=salt).hexdigest() for number in range(among)]
    return pd.Categorical.from_codes(numbers, categories=pd.Index(names, dtype="str"))
