"""What 04 opens: an incident as DataFrames and as a DuckDB connection, and charts of whatever part of it is chosen."""

import atexit
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from intercom_kit.analyze.detect import Detection
from intercom_kit.analyze.latency import representative_ms
from intercom_kit.analyze.study import Study, moment
from intercom_kit.display import charts_log
from intercom_kit.display.charts import Chart
from intercom_kit.display.panel import Panel
from intercom_kit.drill.play import play_incident
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.logs.engines import open_log as open_files
from intercom_kit.logs.read import RELATION, Options
from intercom_kit.logs.rollup import Rollup
from intercom_kit.records import Record
from intercom_kit.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CHOSEN = "what is shown"
TIMES = ("window_start", "minute", "started_at", "at", "timestamp")  # the column of a frame of the time

_OPEN = ExitStack()  # raw logs are open until the kernel ends
atexit.register(_OPEN.close)


@dataclass(frozen=True, eq=False)
class Explorer:
    """One incident, to be looked into. requests: its raw request log, where one is given: read here, and not stored."""

    incident: Incident
    requests: str = ""

    @cached_property
    def checks(self) -> pd.DataFrame:
        """One row per check, as in evidence/checks.jsonl, with its evidence id."""
        return _frame(self.incident.checks)

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row per event of the timeline, as in evidence/events.jsonl, with its evidence id."""
        return _frame(self.incident.events)

    @cached_property
    def figures(self) -> pd.DataFrame:
        """One row per figure: name, value, shown, unit, scope, unknown (why), definition, query."""
        names = ["name", "value", "shown", "unit", "scope", "unknown", "definition", "query"]
        return pd.DataFrame([figure.model_dump() for figure in self.incident.figures.values()])[names]

    @property
    def windows(self) -> pd.DataFrame:
        """The rollup's windows of ten seconds: see logs.rollup.Rollup."""
        return self._rollup.windows

    @property
    def latency(self) -> pd.DataFrame:
        """The rollup's histogram of latency by minute: see logs.rollup.Rollup."""
        return self._rollup.latency

    @property
    def what_if(self) -> Panel | None:
        """The what-if: a way of retrying and a limit to choose, in JupyterLab."""
        return Panel(self.incident.study) if self.incident.study else None

    @cached_property
    def db(self) -> "DuckDBPyConnection":
        """A DuckDB connection with checks, events, windows, latency, affected and, where one is given, request_log."""
        import duckdb

        if self.requests:
            connection = _OPEN.enter_context(open_files([self.requests], Options())).connection
        else:
            connection = duckdb.connect()
        frames = {name: getattr(self._rollup, name) for name in ("windows", "latency", "affected")}
        for name, frame in {"checks": self.checks, "events": self.events, **frames}.items():
            if len(frame.columns):
                connection.register(name, _plain_times(frame))
        return connection

    def sql(self, query: str) -> pd.DataFrame:
        """Run one statement in DuckDB's dialect over the tables of `db`; times come without a zone, in UTC."""
        return self.db.execute(query).df()

    def slowest(self, calls: int = 10) -> pd.DataFrame:
        """Return the slowest calls with their request ids; without a raw log the slowest minutes of the rollup.

        The rollup keeps a request id of a failed call for each route and window, so an id there is of a neighbour.
        """
        if self.requests:
            columns = "timestamp, app, method, route, status_code, duration_ms, request_id"
            query = f"SELECT {columns} FROM {RELATION} ORDER BY duration_ms DESC NULLS LAST LIMIT {calls:d}"  # noqa: S608 - constants and a number
            return self.sql(query)
        known = self.latency.dropna(subset="bucket").nlargest(calls, "bucket", keep="all").head(calls)
        ids = self.windows.dropna(subset="sample_request_id")
        ids = ids.assign(minute=ids["window_start"].dt.floor("min")).drop_duplicates(["minute", "route"])
        frame = known.assign(about_ms=representative_ms(known["bucket"]))
        frame = frame.merge(ids[["minute", "route", "sample_request_id"]], on=["minute", "route"], how="left")
        return frame[["minute", "route", "status_class", "about_ms", "requests", "sample_request_id"]]

    def by_route(self) -> pd.DataFrame:
        """Return calls and failed share of each route before the onset and during the incident."""
        study = self.incident.study
        frame = study.errors_by_route if study else None
        return pd.DataFrame({"unknown": ["no incident was found in a request log"]}) if frame is None else frame

    @cached_property
    def _rollup(self) -> Rollup:
        return self.incident.study.rollup if self.incident.study else Rollup.empty()


def open_explorer(settings: Settings, incident_id: str, requests: str = "", scenario: str = "rate-limited") -> Explorer:
    """Open an incident to look into it; where none is named, a simulated one is played. requests: its raw log.

    Raises IncidentError where there is no such incident, RequestLogError for a log that cannot be read.
    """
    name = incident_id or play_incident(settings, scenario).folder.incident_id
    return Explorer(open_incident(settings, name), requests)


def between(frame: pd.DataFrame, since: str = "", until: str = "") -> pd.DataFrame:
    """Return the rows from since to before until, times with a zone such as 2026-11-24T09:00Z; empty for no bound.

    Raises InputError for a time without a zone.
    """
    times = next(frame[name] for name in TIMES if name in frame)
    first, last = moment(since), moment(until)
    return frame[times.notna() & (True if first is None else times >= first) & (True if last is None else times < last)]


def only(frame: pd.DataFrame, **values: str) -> pd.DataFrame:
    """Return the rows with these values, such as route="/contacts/{id}", app="web"; an empty one chooses all."""
    for name, value in values.items():
        frame = frame[frame[name].eq(value)] if value != "" else frame
    return frame


def errors_chart(windows: pd.DataFrame) -> Chart:
    """Draw which share of the calls failed over time. windows: rows of Explorer.windows, as chosen."""
    return charts_log.errors(_study(windows, Rollup.empty().latency))


def latency_chart(latency: pd.DataFrame) -> Chart:
    """Draw p50, p95 and p99 over time. latency: rows of Explorer.latency, as chosen."""
    return charts_log.percentiles(_study(Rollup.empty().windows, latency))


def _study(windows: pd.DataFrame, latency: pd.DataFrame) -> Study:
    """Return a look at what was chosen, without an incident of its own."""
    times = pd.concat([windows["window_start"], latency["minute"]])
    first, last = (times.min(), times.max()) if len(times) else (pd.Timestamp(0, tz="UTC"),) * 2
    rollup = replace(Rollup.empty(), windows=windows, latency=latency)
    return Study(rollup, (first, last + pd.Timedelta(minutes=1)), Detection(), scope=CHOSEN)


def _frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per record, its parts of parts as JSON, so that SQL reads them as text too."""

    def flat(value: object) -> object:
        return json.dumps(value, default=str) if isinstance(value, (tuple, list, dict)) else value

    rows = [record.model_dump() | {"evidence": record.evidence_id} for record in records]
    return pd.DataFrame([{name: flat(value) for name, value in row.items()} for row in rows])


def _plain_times(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose times are UTC without a zone, as in the rollup's files and in request_log."""
    zoned = frame.select_dtypes("datetimetz")
    return frame.assign(**{str(name): times.dt.tz_convert("UTC").dt.tz_localize(None) for name, times in zoned.items()})
