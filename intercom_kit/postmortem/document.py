"""The postmortem: filled from the evidence and the facts, as Markdown with its pictures, and as HTML.

Equal evidence, facts and templates give equal bytes: nothing here looks at a clock.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path

from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from intercom_kit import __version__
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.http import utc_now
from intercom_kit.collect.impact import add_count, count_conversations
from intercom_kit.decide import decide
from intercom_kit.display import charts_log
from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_timeline import Course, timeline_chart
from intercom_kit.display.tables import View, table
from intercom_kit.errors import EvidenceError, InputError
from intercom_kit.incident.incident import Incident, as_declared, open_incident
from intercom_kit.incident.messages import external_update, internal_update, support_packet
from intercom_kit.postmortem import appendix, markdown
from intercom_kit.postmortem.lint import Problem, check
from intercom_kit.postmortem.markdown import Md
from intercom_kit.postmortem.suggestions import Suggestion, suggestions
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import Event, Figure
from intercom_kit.settings import Settings
from intercom_kit.text import duration

TEMPLATES = Path(__file__).parent / "templates"
TIMELINE = "postmortem-timeline.svg"
LOG_CHARTS: dict[str, Callable[..., Chart]] = {
    "postmortem-errors.svg": charts_log.errors,
    "postmortem-latency.svg": charts_log.percentiles,
    "postmortem-headroom.svg": charts_log.headroom,
}

MESSAGES = "messages"  # the folder of what can be sent


@dataclass(frozen=True, eq=False)
class Postmortem:
    """The postmortem of a case. templates: a team's own folder, whose files go before the kit's of the same name."""

    case: Incident
    templates: Path | None = None

    @cached_property
    def charts(self) -> dict[str, Chart]:
        """The pictures by their file names: the timeline, and three of the request log where there is one."""
        drawn = {name: draw(self.case.study) for name, draw in LOG_CHARTS.items()} if self.case.study else {}
        return {TIMELINE: timeline_chart(_course(self.case), self.case.figures)} | drawn

    @cached_property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """Action items that the evidence suggests and that nobody has taken."""
        return suggestions(self.case)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """The rules of the linter that are open, by what the document says."""
        return check(self.case, self._render(()))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The open rules that keep it a draft."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @cached_property
    def markdown(self) -> str:
        """The document. Raises EvidenceError when it cites what is not in the evidence, InputError for a template."""
        text = self._render(self.problems)
        if missing := self.case.index.missing(appendix.citations(text)):
            self.case.index.resolve(missing[0])
        return text

    def html(self) -> Markup:
        """Return the document as safe HTML, its pictures inside."""
        return markdown.to_html(self.markdown, self.charts)

    @property
    def head(self) -> View:
        """What stands above the first section: state, date, duration, severity and request ids; then the summary."""
        head = self._sections[""].partition("\n")[2]
        return self._view(head + self._sections.get("Summary", "").partition("\n")[2])

    def part(self, title: str) -> View:
        """Return one section without its heading; empty where a team's template leaves it out."""
        return self._view(self._sections.get(title, "").partition("\n")[2])

    def others(self, *titles: str) -> View:
        """Return the sections besides these, the head and the summary, their headings one level lower."""
        shown = {"", "Summary", *titles}
        text = "\n".join(text for title, text in self._sections.items() if title not in shown)
        view = self._view(text)
        return View(Markup(appendix.lower_headings(view.html)), view.text)  # noqa: S704 - still safe

    @property
    def rules(self) -> View:
        """The state of the linter: its open rules, errors first, or that all hold."""
        rows = [(p.code, "error" if p in self.errors else "advice", p.place, p.message, p.fix) for p in self.problems]
        if not rows:
            return View(Markup("<p>Every rule of the linter holds.</p>"), "Every rule of the linter holds.")
        state = f"DRAFT: {len(self.errors)} rules are open" if self.errors else "Final, with advice"
        view = table(("Rule", "Level", "Where", "What is open", "How to close it"), rows, state)
        return replace(view, stamp="DRAFT" if self.errors else "")

    @cached_property
    def _sections(self) -> dict[str, str]:
        return dict(appendix.sections(self.markdown))

    def _view(self, text: str) -> View:
        return View(markdown.to_html(text, self.charts), text.strip())

    @cached_property
    def messages(self) -> dict[str, str]:
        """What can be sent, by file name: to our own people, to customers, and to Intercom's support."""
        case, course = self.case, self.case.lifecycle
        decision = (course.worst or course.runs[-1]).decision if course.runs else decide((), case.settings)
        decision = as_declared(decision, case.facts, course)
        since, until = (edge.by if edge else None for edge in (course.onset, course.recovery))
        return {
            "internal-update.txt": internal_update(decision, case.facts, case.as_of),
            "external-update.txt": external_update(decision, case.facts, since=since, until=until, now=case.as_of),
            "support-packet.md": support_packet(case.checks, self._windows(since, until)),
        }

    def _windows(self, since: datetime | None, until: datetime | None) -> list[dict[str, object]]:
        """Return the windows of the request log that lie in the incident, as plain rows."""
        if self.case.study is None:
            return []
        frame = self.case.study.windows
        first = (since or frame["window_start"].min()) - timedelta(seconds=WINDOW_S)
        inside = frame["window_start"].between(first, until or frame["window_start"].max())
        return [{str(name): value for name, value in row.items()} for row in frame[inside].to_dict("records")]

    def write(self) -> Path:
        """Write postmortem.md, its pictures and messages/ into the incident's folder, each file as a whole.

        Returns the path of postmortem.md.
        """
        path = self.case.folder.path / "postmortem.md"
        for name, chart in self.charts.items():
            write_atomic(path.with_name(name), chart.svg)
        (path.parent / MESSAGES).mkdir(mode=0o700, exist_ok=True)
        for name, text in self.messages.items():
            write_atomic(path.parent / MESSAGES / name, f"{text.rstrip()}\n".encode())
        write_atomic(path, self.markdown.encode())
        return path

    @property
    def written(self) -> View:
        """The files that `write` made, with their sizes."""
        files = [self.case.folder.path / name for name in ("postmortem.md", *self.charts)]
        files += [self.case.folder.path / MESSAGES / name for name in self.messages]
        rows = [
            (file.relative_to(self.case.folder.path).as_posix(), f"{file.stat().st_size:,}")
            for file in files
            if file.is_file()
        ]
        return table(("File", "Bytes"), rows, f"The postmortem of {self.case.facts.id}")

    def _render(self, problems: Iterable[Problem]) -> str:
        """Fill the templates, and leave no trailing or doubled blank lines."""
        environment = _environment(self.templates)
        try:
            text = environment.get_template("postmortem.md.j2").render(self._context(tuple(problems)))
        except TemplateError as error:
            where = getattr(error, "name", None) or "postmortem.md.j2"
            raise InputError(
                f"The template {where} cannot be filled: {error}. Compare it with the kit's in {TEMPLATES.name}/."
            ) from error
        return appendix.tidy(text)

    @cached_property
    def _given(self) -> dict[str, object]:
        return appendix.context(self.case)

    def _context(self, problems: tuple[Problem, ...]) -> dict[str, object]:
        case = self.case
        return {
            **self._given,
            "facts": case.facts,
            "figures": case.figures,
            "errors": [problem for problem in problems if problem.level == "error"],
            "problems": problems,
            "suggestions": self.suggestions,
            "suggested_summary": suggested_summary(case.figures),
            "log_pictures": [name for name in self.charts if name != TIMELINE],
            "picture": self._picture,
            "version": __version__,
        }

    def _picture(self, name: str) -> Md:
        chart = self.charts[name]
        figures = ("onset", "duration") if name == TIMELINE else ("requests", "failed", "p95_ms", "exhausted")
        known = [self.case.figures[each] for each in figures if self.case.figures[each].value is not None]
        cites = markdown.cite(figure.evidence_id for figure in known)
        return Md(f"![{markdown.md(chart.alt)}]({name})\n\n{markdown.md(chart.caption)} {cites}")


def open_postmortem(settings: Settings, incident_id: str, templates: str | Path = "") -> Postmortem:
    """Open an incident's postmortem; templates: a team's own folder of templates, empty for none.

    Raises IncidentError when there is no such incident, EvidenceError when it has no evidence, InputError when the
    folder of templates is not there.
    """
    own = Path(templates) if templates else None
    if own and not own.is_dir():
        raise InputError(f"There is no folder of templates {own}. Copy the kit's, or leave the parameter empty.")
    case = open_incident(settings, incident_id)
    if not (case.checks or case.events or case.has_log or case.facts.is_declared):
        raise EvidenceError(
            f"{case.folder.incident_id} has no evidence to make a postmortem from. "
            f"Run: intercom-kit triage --incident {case.folder.incident_id}"
        )
    return Postmortem(case, own)


def _course(case: Incident) -> Course:
    """Return what the timeline's picture draws."""
    seen = case.lifecycle
    noticed = [entry.at for entry in (seen.alert, seen.triage) if entry]
    return Course(
        rows=case.rows,
        onset=seen.onset,
        recovery=seen.recovery,
        noticed=min(noticed, default=None),
        mitigated=seen.mitigation.at if seen.mitigation else None,
        runs=seen.runs,
        exhausted=case.exhausted,
        notices=tuple(notice.at for notice in seen.notices),
    )


def count_impact(settings: Settings, incident_id: str) -> Event:
    """Ask Intercom how many conversations were created from onset to recovery, keep the counts, return the event.

    Raises EvidenceError when no onset is known or Intercom does not answer, SettingsError without a token.
    """
    case = open_incident(settings, incident_id)
    onset, recovery = case.lifecycle.onset, case.lifecycle.recovery
    until = recovery.by if recovery else utc_now()  # right after the first triage, the evidence ends where it begins
    if onset is None:
        raise EvidenceError(f"{incident_id} has no onset yet. Run: intercom-kit triage --incident {incident_id}")
    return add_count(case.folder, count_conversations(settings, onset.by, until), onset.by, until)


def suggested_summary(figures: Mapping[str, Figure]) -> str:
    """Return a summary of one sentence that the evidence gives, for a person to put into words."""
    seconds, severity = figures["duration"].value, figures["severity"].value or "severity unknown"
    lasted = f"For {duration(float(seconds), long=True)}" if seconds is not None else "Until now"
    failed, refused = figures["failed_share"], figures["refused_share"]
    share = max(
        (f for f in (failed, refused) if isinstance(f.value, float)), key=lambda f: float(f.value or 0), default=None
    )
    happened = f"{share.shown} of calls to Intercom failed" if share else "calls to Intercom were affected"
    touched = figures["conversations_affected"].value
    count = f", in at most {touched:,} conversations" if isinstance(touched, int) else ""
    return f"{lasted}, {happened} ({severity}){count}."


@lru_cache(maxsize=4)
def _environment(templates: Path | None) -> ImmutableSandboxedEnvironment:
    """Return an environment in which every value that is not Markdown is escaped; it reads changed files again."""
    folders = [FileSystemLoader(folder) for folder in (templates, TEMPLATES) if folder]
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader(folders),
        undefined=StrictUndefined,
        finalize=markdown.md,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the document is Markdown, and finalize escapes for that
    )
    environment.globals = {name: getattr(markdown, name) for name in ("cite", "code", "block", "table", "anchor", "md")}
    return environment
