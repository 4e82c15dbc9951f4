"""What the notebooks open: an incident's evidence, else Intercom or a log; a drill only where no incident is named.

Each says what it shows. The analysis is imported where a notebook needs it: a triage does not wait for what draws logs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from intercom_kit.collect.facts import DECLARED, declare, declared
from intercom_kit.collect.incident_folder import DRILLS, IncidentFolder
from intercom_kit.declared import IncidentFacts
from intercom_kit.display import person_asks, tables
from intercom_kit.display.tables import View, answer_card, message
from intercom_kit.drill.play import Lesson, work_moment
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.errors import KitError
from intercom_kit.incident.answer import answer_of, answer_of_log
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.incident.triage import Triage, load_triage, run_triage
from intercom_kit.settings import Settings, load_settings

if TYPE_CHECKING:
    from intercom_kit.analyze.study import Study
    from intercom_kit.analyze.webhooks import WebhookStudy
    from intercom_kit.display.charts import Chart
    from intercom_kit.postmortem.document import Postmortem

T = TypeVar("T")
LOG_HOURS = 4
LOG_END = datetime(2026, 11, 24, 12, tzinfo=UTC)  # fixed: the same drill gives the same numbers
NO_LOG = "no request log was given"


@dataclass(frozen=True)
class Given:
    """An incident that a notebook is about, with the facts that its parameters declare.

    incident_id: empty where none is named. facts: by field, read and scrubbed. origin: which notebook's they are.
    """

    settings: Settings
    incident_id: str
    facts: Mapping[str, object]
    origin: str

    def store(self) -> None:
        """Write the declared facts into incident.json; an incident that is not there yet is made for them."""
        folder = IncidentFolder(self.settings.outputs, self.incident_id)
        if self.facts:
            folder.create()
        else:
            folder.require()
        declare(folder, self.facts, self.origin)

    def _repr_html_(self) -> str:
        return self._view()._repr_html_()

    def __repr__(self) -> str:
        return repr(self._view())

    def _view(self) -> View:
        if not self.facts:
            return message("Nothing is declared by parameters.")
        facts: dict[str, Any] = {"id": self.incident_id or "a new incident"} | dict(self.facts)
        return tables.facts_table(IncidentFacts.model_construct(**facts))


def check_parameters(notebook: str, incident_id: object, **parameters: object) -> Given:
    """Check a notebook's parameters before anything runs, and return the facts that they declare.

    parameters: those of collect.facts.DECLARED, read here, and others, which must be text. Raises IncidentIdError, and
    KitError, naming the parameter, for another type, for what cannot be read, and for facts without an incident.
    """
    others = {name: value for name, value in parameters.items() if name not in DECLARED}
    for name, value in {"incident_id": incident_id, **others}.items():
        if not isinstance(value, str):
            advice = f"Pass it with papermill's -r, which keeps text as it is: -r {name} …"
            raise KitError(f"Parameter {name!r} must be text, but {type(value).__name__} was given. {advice}")
    settings = load_settings()
    facts = declared(parameters, settings.redactor, datetime.now(UTC))
    named = str(incident_id).strip()
    if facts and not named and (settings.token is None or notebook != "01-triage"):
        raise KitError(f"Parameter {min(facts)!r} is about an incident. Name it: -r incident_id INC-…")
    if named:
        named = IncidentFolder(settings.outputs, named).incident_id
    return Given(settings, named, facts, f"parameters of {notebook}")


def play(scenario: str = "rate-limited") -> Lesson:
    """Play a scenario and triage it; the token and the URLs of the environment are never used.

    The incident is written to outputs/drills. Raises KitError for an unknown name.
    """
    return work_moment(load_settings(), find_scenario(scenario))


def score_table(lesson: Lesson) -> View:
    """Return what triage found beside the truth that it did not know."""
    rows = [(row.field, row.found, row.truth, "agrees" if row.agrees else "DIFFERS") for row in lesson.score]
    return tables.table(("Field", "Found", "Truth", "Compared"), rows, f"The truth of this drill: {lesson.story}")


def open_triage(given: Given, run: str = "", scenario: str = "rate-limited") -> Triage:
    """Show an incident's evidence, else check Intercom; a drill is played where no incident is named and no token set.

    Raises IncidentError, EvidenceError or KitError; a failing check is a result, never an error.
    """
    settings = given.settings
    if given.incident_id and IncidentFolder(settings.outputs, given.incident_id).checks():
        given.store()
        _say(f"Shown from the evidence of {given.incident_id}; nothing was checked again.")
        return load_triage(settings, given.incident_id, run)
    if given.incident_id or settings.token is not None:
        triage = run_triage(settings, given.incident_id, facts=given.facts, origin=given.origin)
        skipped = [check.observed for check in triage.checks if check.skipped]
        _say(f"The API could not be asked. {skipped[0]}" if skipped else f"Checked {settings.base_url} just now.")
        return triage
    played = find_scenario(scenario)
    _say(
        f"INTERCOM_ACCESS_TOKEN is not set and no incident is named, so this is a DRILL ({played.name}) against a "
        f"loopback Intercom on this machine, written to {DRILLS}/. Export the token to ask the real one."
    )
    return work_moment(settings, played).triage


def opening(triage: Triage) -> View:
    """Return what the page of a triage opens with: the answer of its incident, whichever run is shown."""
    return answer_card(answer_of(_incident_of(triage)))


def run_shown(triage: Triage) -> View:
    """Return what the run that is shown found, and what the other runs found."""
    runs = _incident_of(triage).runs
    shown = next(run for run in runs if run.name == triage.checks[0].run)
    return tables.run_card(shown, [run for run in runs if run is not shown])


def _incident_of(triage: Triage) -> Incident:
    return open_incident(load_settings(outputs=triage.folder.outputs), triage.folder.incident_id)


@dataclass(frozen=True)
class Log:
    """What the cells of 02 show: a request log, an incident, or both; where there is no log, they say so."""

    study: "Study | None"
    incident: Incident | None

    def show(self, draw: "Callable[..., T]", *options: object) -> "T | View":
        """Return what draws the log, with its options, or that there is none to draw."""
        return message(f"Unknown: {NO_LOG}.") if self.study is None else draw(self.study, *options)

    def throttled(self, draw: "Callable[[Study], Chart]") -> "Chart | View":
        """Return what draws refused calls, where there were any."""
        if self.study is not None and self.study.retries.empty:
            return message("No call was answered with 429.")
        return self.show(draw)

    def errors(self, study: "Study") -> "Chart":
        """Return the errors over time, with the time in which the status page showed an incident."""
        from intercom_kit.display.charts_log import errors

        return errors(study, status_page=self.incident.lifecycle.on_page if self.incident else None)

    def deliveries(self, draw: "Callable[[WebhookStudy], Chart]") -> "Chart | View":
        """Return what draws the deliveries of webhooks, or that there is no log of them."""
        from intercom_kit.analyze.webhooks import study_deliveries
        from intercom_kit.logs.deliveries import FILE, load

        evidence = self.incident.folder.evidence_path if self.incident else None
        if evidence is None or not (evidence / FILE).is_file():
            return message("There is no log of deliveries in the evidence.")
        return draw(study_deliveries(load(evidence)))

    @property
    def answer(self) -> View:
        """What the page opens with: the incident's answer, else the log's."""
        from intercom_kit.analyze.findings import findings_of

        if self.incident:
            return answer_card(answer_of(self.incident))
        return self.show(lambda study: answer_card(answer_of_log(findings_of(study))))

    @property
    def bottom_line(self) -> View:
        """What the log shows, as far as the page does not open with it; without a log, what the checks show."""
        from intercom_kit.display.log_tables import log_card

        if self.study is not None:
            return log_card(self.study)
        said = message(f"Only the checks can show it: {NO_LOG}.")
        if self.incident is None or not self.incident.checks:
            return said
        triage = load_triage(self.incident.settings, self.incident.folder.incident_id)
        return tables.stacked(said, tables.verdict_card(triage.decision, triage.facts))

    @property
    def written(self) -> View:
        """What lies in the incident's evidence, or that nothing was written."""
        if self.incident is None:
            return message("Nothing was written: no incident was named.")
        return tables.written(self.incident.folder)


def open_log(
    given: Given,
    requests: str = "",
    since: str = "",
    until: str = "",
    scenario: str = "rate-limited",
    pressure: float = 0.0,
    slo: float = 0.0,
    bucket_rate: float = 0.0,
) -> Log:
    """Look at a request log: the one given, else the incident's, and a drill's where no incident is named.

    requests: a file, a folder or a glob. pressure, slo, bucket_rate: see Study; 0 takes the default.
    Raises RequestLogError, EvidenceError, IncidentError, InputError or KitError.
    """
    from intercom_kit.analyze.latency import SLO
    from intercom_kit.analyze.ratelimit import PRESSURE
    from intercom_kit.analyze.study import Chosen, open_study, study
    from intercom_kit.drill.limiter import SMALL_QUOTA
    from intercom_kit.drill.traffic import small_log
    from intercom_kit.logs.rollup import make_rollup

    settings, incident_id = given.settings, given.incident_id
    chosen: Chosen = {"since": since, "until": until, "bucket_rate": bucket_rate or None}
    chosen |= {"pressure": pressure or PRESSURE, "slo": slo or SLO}
    if not (requests or incident_id):
        _say(f"Neither an incident nor a request log is given, so this is a DRILL: made-up traffic of {scenario}.")
        with small_log(find_scenario(scenario), hours=LOG_HOURS, quota=SMALL_QUOTA, end=LOG_END) as path:
            return Log(study(make_rollup([path]), **chosen), None)
    if incident_id and not requests:
        given.store()
        if not IncidentFolder(settings.outputs, incident_id).has_log:
            _say(f"{incident_id}: {NO_LOG}, and its evidence holds none.")
            return Log(None, open_incident(settings, incident_id))
    _say(f"Shown from {requests or f'the evidence of {incident_id}'}.")
    seen = open_study(settings, incident_id, [requests] if requests else [], **chosen)
    if incident_id and requests:
        given.store()
    return Log(seen, open_incident(settings, incident_id) if incident_id else None)


def open_postmortem(given: Given, templates: str = "", scenario: str = "rate-limited") -> "Postmortem":
    """Open an incident's postmortem, or, where none is named, that of a simulated incident.

    templates: a team's own folder of templates. Raises IncidentError, EvidenceError, InputError or KitError.
    """
    from intercom_kit.drill.play import play_incident
    from intercom_kit.postmortem import document

    incident_id = given.incident_id
    if incident_id:
        given.store()
        _say(f"Shown from the evidence of {incident_id}, and from what people declared.")
    else:
        incident_id = play_incident(given.settings, scenario).folder.incident_id
        _say(
            f"No incident is named, so this is a DRILL: a simulated incident, {scenario}, played now in virtual time. "
            f"Its evidence lies in {DRILLS}/{incident_id}."
        )
    return document.open_postmortem(given.settings, incident_id, templates)


def fill_form(incident_id: str, *, person: bool | None = None) -> View:
    """Write the form of `intercom-kit edit` beside the notebook, or read it back where somebody has filled it.

    person: whether somebody is there to fill it; None: see display.person_asks. Without, the command is named.
    Raises InputError with a line for everything in the form that cannot be read.
    """
    from intercom_kit.postmortem.form import FORM, read_form, write_form

    settings = load_settings()
    folder = IncidentFolder(settings.outputs, incident_id)
    if not (person_asks() if person is None else person):
        return message(f"intercom-kit edit {folder.incident_id}")
    changed = read_form(settings, incident_id) if (folder.path / FORM).is_file() else ()
    if changed:
        return message(f"Changed: {', '.join(changed)}. Run the notebook again to see it.")
    return message(f"Fill and save {write_form(settings, incident_id)}, then run this cell again.")


def _say(words: str) -> None:
    """Print what the reader of a notebook must know before anything else."""
    print(words)  # noqa: T201
