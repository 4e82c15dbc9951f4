"""What a postmortem counts in a request log: each number with the SQL that gives it.

The SQL reads the rollup's Parquet files by their names in the incident's folder, in DuckDB's dialect: what is printed
in the postmortem is what was run, and anyone can run it again there, as in `duckdb -c "SELECT …"`. Times in the files
are UTC, without a zone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intercom_kit.analyze.detect import Detection, Episode
from intercom_kit.analyze.study import counted_span, current_rollup
from intercom_kit.logs.rollup import FAILED
from intercom_kit.records import Figure, evidence_id
from intercom_kit.text import share

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FILES = ("affected.parquet", "latency.parquet", "rows.json", "windows.parquet")
NEAR = timedelta(minutes=15)  # trouble so near to an incident of the log is that incident
REQUEST_IDS = 10  # printed in a postmortem; the vendor packet has more
UPPER_BOUND = "Upper bound by a minute, as the rollup keeps the first and the last failed call of each minute"


@dataclass(frozen=True)
class Question:
    """One number to take from the rollup's windows: the SQL has {file}, {span} and {failed}."""

    name: str
    label: str
    definition: str
    sql: str
    is_share: bool = False


QUESTIONS: tuple[Question, ...] = (
    Question(
        "requests",
        "Calls to Intercom",
        "All calls of our apps in the log from onset to recovery, by whole windows of ten seconds.",
        "SELECT coalesce(sum(requests), 0) FROM {file} WHERE {span}",
    ),
    Question(
        "failed",
        "Calls that failed",
        "Calls without an answer, or with a 4xx or 5xx that is not the caller's normal business "
        "(400, 404, 409, 410, 422).",
        "SELECT coalesce(sum(requests), 0) FROM {file} WHERE {span} AND {failed}",
    ),
    Question(
        "failed_share",
        "Share of calls that failed",
        "Calls that failed, divided by all calls, between onset and recovery.",
        "SELECT coalesce(sum(requests) FILTER ({failed}), 0) / sum(requests) FROM {file} WHERE {span}",
        is_share=True,
    ),
    Question(
        "worst_minute_share",
        "Share that failed in the worst minute",
        "The same in the minute in which it was highest; a minute counts as a whole, also beyond onset and recovery.",
        "SELECT max(share) FROM (SELECT coalesce(sum(requests) FILTER ({failed}), 0) / sum(requests) AS share "
        "FROM {file} WHERE {minutes} GROUP BY date_trunc('minute', window_start))",
        is_share=True,
    ),
    Question(
        "refused_share",
        "Share of calls answered with 400",
        "Calls that Intercom found invalid: the caller's normal business, unless nearly all calls are.",
        "SELECT coalesce(sum(requests) FILTER (status_code = 400), 0) / sum(requests) FROM {file} WHERE {span}",
        is_share=True,
    ),
    Question(
        "throttled",
        "Calls answered with 429",
        "Calls refused by a rate limit, or by a server that was overloaded.",
        "SELECT coalesce(sum(requests), 0) FROM {file} WHERE {span} AND status_code = 429",
    ),
    Question(
        "unanswered",
        "Calls without an answer",
        "Calls that timed out, or whose connection failed or broke off.",
        "SELECT coalesce(sum(requests), 0) FROM {file} WHERE {span} AND status_code IS NULL",
    ),
)
AFFECTED_SQL = (
    "SELECT count(DISTINCT hash) FROM {file} "
    "WHERE kind = '{kind}' AND last_failed >= {since} AND first_failed < {until}"
)
REQUEST_IDS_SQL = (
    "SELECT arg_min(sample_request_id, (window_start, sample_request_id)) AS id FROM {file} WHERE {span} AND {failed} "
    "AND sample_request_id IS NOT NULL GROUP BY route, status_code ORDER BY sum(requests) DESC, id LIMIT {limit}"
)


def rollup_ids(folder: Path) -> tuple[str, ...]:
    """Return the evidence ids of the files of an incident's rollup."""
    return tuple(evidence_id((current_rollup(folder) / name).read_bytes()) for name in FILES)


def log_bounds(first: Episode, last: Episode, folder: Path, *, is_main: bool) -> dict[str, Figure]:
    """Return the onset of an incident in the log and, where the log shows it, the recovery from its last relapse.

    is_main: whether `first` is the one that `analyze` reports; of another, and of a relapse, the span has to be named.
    """

    def command(episode: Episode) -> str:
        since, until = episode.onset.after or episode.onset.by, episode.last_bad
        span = f" --since {since:%Y-%m-%dT%H:%M:%SZ} --until {until:%Y-%m-%dT%H:%M:%SZ}"
        named = "" if is_main and episode == first else span
        return f"intercom-kit analyze {folder.name}{named} --json --no-report | jq"

    onset, ended = first.onset, last if last.recovery else first
    after = f"after {onset.after:%H:%M:%S} and " if onset.after else "before the log began or "
    figure = Figure(
        name="log_onset",
        label="Onset in the request log",
        value=onset.by.isoformat(),
        shown=f"{after}by {onset.by:%H:%M:%S} UTC, shown by {first.signal}",
        definition="An interval: the last moment before the change, and the first after it, at the log's resolution.",
        query=f"{command(first)} .onset",
        sources=rollup_ids(folder),
    )
    if ended.first_good is None:
        return {figure.name: figure}
    recovery = {
        "name": "log_recovery",
        "label": "Recovery in the request log",
        "value": ended.first_good.isoformat(),
        "shown": f"after {ended.last_bad:%H:%M:%S} and by {ended.first_good:%H:%M:%S} UTC",
        "query": f"{command(ended)} .recovery",
    }
    return {figure.name: figure, "log_recovery": figure.model_copy(update=recovery)}


def episode_of(detected: Detection, spans: Sequence[tuple[datetime, datetime]]) -> Episode | None:
    """Return which of the log's incidents is the one that was bad in these spans: the main one if it can be.

    spans: from when to when checks or people found trouble, UTC; none: the main one. None when no incident of the log
    is near any of them: then it is about something that the log does not show.
    """
    if not spans:
        return detected.main
    ranked = sorted(detected.episodes, key=lambda episode: (episode != detected.main, -episode.bad))
    return next((episode for episode in ranked if any(_near(episode, *span) for span in spans)), None)


def last_relapse(detected: Detection, episode: Episode, until: datetime | None) -> Episode:
    """Return the last of the log's incidents that follow this one closely, each within NEAR of the end before it.

    until: when people or checks still found trouble, or an end, UTC; what begins later is another incident.
    """
    last = episode
    for other in detected.episodes:
        follows = last.first_good and last.first_good <= other.onset.by <= last.first_good + NEAR
        if until and follows and other.onset.by <= until:
            last = other
    return last


def _near(episode: Episode, start: datetime, end: datetime) -> bool:
    begin = (episode.onset.after or episode.onset.by) - NEAR
    return begin <= end and (episode.first_good is None or start <= episode.first_good + NEAR)


def count_users(folder: Path, since: datetime, until: datetime, facing: Sequence[str]) -> Figure:
    """Count the contacts with a failed call that users notice, in a span; see measure.

    facing: apps, routes (`/conversations`) and an app's routes (`web/conversations`). The figure
    `users_unable_to_reach_support`; unknown where the log has no contacts, apps or routes.
    """
    with _opened(folder, since, until) as rollup:
        figure = rollup.affected("contact", facing)
    label = {"name": "users_unable_to_reach_support", "label": "Users unable to reach support"}
    return figure.model_copy(update={**label, "unit": "users"})


def measure(folder: Path, since: datetime, until: datetime) -> dict[str, Figure]:
    """Count in the rollup of an incident's folder, in the whole windows that touch the span from since to until.

    Returns by name the figures of QUESTIONS, log_conversations, log_contacts and log_request_ids. A number that the
    log does not hold is None, with why.
    """
    with _opened(folder, since, until) as rollup:
        counted = [rollup.answer(question) for question in QUESTIONS]
        affected = [rollup.affected("conversation"), rollup.affected("contact")]
        return {figure.name: figure for figure in (*counted, *affected, rollup.request_ids())}


@contextmanager
def _opened(folder: Path, since: datetime, until: datetime) -> "Iterator[_Rollup]":
    import duckdb

    begin, end = counted_span(since, until)
    words = {
        "span": _between(begin, end),
        "minutes": _between(begin.floor("min"), end.ceil("min"), "date_trunc('minute', window_start)"),
        "since": _literal(begin),
        "until": _literal(until),
        "failed": FAILED,
        "limit": str(REQUEST_IDS),
    }
    with duckdb.connect(config={"threads": 2}) as connection:
        yield _Rollup(current_rollup(folder), connection, words)


@dataclass(frozen=True)
class _Rollup:
    """A rollup's files, a connection that reads them, and what the templates of SQL are filled with."""

    place: Path
    connection: "DuckDBPyConnection"
    words: dict[str, str]

    def _run(self, sql: str, file: str = "windows.parquet", **words: str) -> tuple[str, list[tuple[Any, ...]]]:
        """Return the SQL as it is printed, and the rows it gives."""
        name, path = f"'evidence/{self.place.name}/{file}'", str(self.place / file).replace("'", "''")
        shown = sql.format(file=name, **self.words, **words)
        return shown, self.connection.execute(shown.replace(name, f"'{path}'")).fetchall()

    def answer(self, question: Question) -> Figure:
        query, ((value,),) = self._run(question.sql)
        figure = Figure(
            name=question.name,
            label=question.label,
            definition=question.definition,
            query=query,
            sources=(evidence_id((self.place / "windows.parquet").read_bytes()),),
        )
        if value is None:
            return figure.model_copy(update={"unknown": "the log has no calls in this span"})
        exact = round(float(value), 6) if question.is_share else int(value)
        shown = share(float(value)) if question.is_share else f"{exact:,}"
        return figure.model_copy(update={"value": exact, "shown": shown})

    def affected(self, kind: str, facing: Sequence[str] = ()) -> Figure:
        """Count contacts or conversations with a failed call, of these apps and routes only where any are given."""
        file = "affected.parquet"
        figure = Figure(
            name=f"log_{kind}s",
            label=f"{kind.capitalize()}s with a failed call{', by app' if kind == 'contact' else ''}",
            definition=f"{kind.capitalize()}s (salted hashes) that met a failed call between onset and recovery. "
            f"{UPPER_BOUND}.",
            sources=(evidence_id((self.place / file).read_bytes()),),
        )
        if not self._run("SELECT 1 FROM {file} WHERE kind = '{kind}' LIMIT 1", file, kind=kind)[1]:
            return figure.model_copy(update={"unknown": f"the log has no {kind} ids"})
        columns = [row[0] for row in self._run("DESCRIBE SELECT * FROM {file}", file)[1]]
        if facing and "route" not in columns:
            return figure.model_copy(update={"unknown": "this rollup was made before it held routes: analyze again"})
        only = f" AND ({' OR '.join(map(_faces, facing))})" if facing else ""
        query, ((count,),) = self._run(AFFECTED_SQL + only, file, kind=kind)
        of = f" of {', '.join(facing)}" if facing else ""
        shown = f"at most {count:,}{of}" if count else f"0{of}"
        if "app" in columns and not facing:
            sql = AFFECTED_SQL.replace("count(DISTINCT hash)", "app, count(DISTINCT hash)")
            by_app = self._run(f"{sql} GROUP BY app ORDER BY 2 DESC, 1", file, kind=kind)[1]
            shown += f" ({', '.join(f'{app} {number:,}' for app, number in by_app)})" if len(by_app) > 1 else ""
        return figure.model_copy(update={"value": int(count), "shown": shown, "query": query})

    def request_ids(self) -> Figure:
        query, rows = self._run(REQUEST_IDS_SQL)
        ids = ", ".join(str(row[0]) for row in rows)
        return Figure(
            name="log_request_ids",
            label="Request ids of failed calls in the log",
            value=ids or None,
            shown=ids,
            unknown="" if ids else "no failed call in the log carries one",
            definition=f"X-Request-Id of a first failed call of each route and status, at most {REQUEST_IDS}.",
            query=query,
            sources=(evidence_id((self.place / "windows.parquet").read_bytes()),),
        )


def _faces(name: str) -> str:
    """Return the condition, for a template of SQL, that a call is of an app, of a route, or of an app's route."""
    app, slash, route = name.partition("/")
    parts = [("app", app)] if app else []
    parts += [("route", f"/{route}")] if slash else []
    texts = [(column, value.replace("'", "''").replace("{", "{{").replace("}", "}}")) for column, value in parts]
    return "(" + " AND ".join(f"{column} = '{value}'" for column, value in texts) + ")"


def _between(begin: datetime, end: datetime, column: str = "window_start") -> str:
    return f"{column} >= {_literal(begin)} AND {column} < {_literal(end)}"


def _literal(moment: datetime) -> str:
    return f"TIMESTAMP '{moment.astimezone(UTC).replace(tzinfo=None).isoformat(' ')}'"
