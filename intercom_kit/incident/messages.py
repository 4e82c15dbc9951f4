"""Messages about an incident: to our own people, to customers, and to Intercom's support."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from intercom_kit.decide.severity import respond_by
from intercom_kit.incident.slack import escape
from intercom_kit.protocol import WINDOW_S, is_failure
from intercom_kit.records import Cause, CheckRecord, Decision, IncidentFacts, Severity, State
from intercom_kit.redaction import Redactor

STATUS: dict[State, str] = {
    "open": "INVESTIGATING",
    "mitigated": "MONITORING",
    "resolved": "RESOLVED",
    "reviewed": "RESOLVED",
}
IMPACT_BY_CAUSE: dict[Cause, str] = {
    "vendor_slow": "Customer conversations load and send slowly.",
    "search_degraded": "Searching contacts and conversations fails or is slow; the rest works.",
    "webhooks_delayed": "Events from Intercom arrive late; reading and sending works.",
    "app_unhealthy": "Our integration is unhealthy; what depends on it may fail.",
    "stale_cache": "Users may see data that is not fresh.",
    "monitoring_gap": "Users notice nothing; a new incident could go unseen.",
}
IMPACT_BY_SEVERITY: dict[Severity, str] = {
    "P1": "Customer conversations do not load and messages are not sent: every call to Intercom fails.",
    "P2": "Some customer conversations do not load and some messages are not sent.",
    "P3": "A part of the integration is affected; reading and sending works.",
    "P4": "Users notice nothing.",
}


@dataclass(frozen=True)
class CustomerWords:
    """What customers are told: a problem with what, what they notice now, and what they may have noticed then."""

    what: str
    now: str
    then: str


EVERYTHING = CustomerWords(
    "messages to and from our support team",
    "Messages may not arrive, and conversations may not load.",
    "Messages may not have arrived. If you wrote to us in that time and got no answer, please write again.",
)
SOME = CustomerWords(
    "some messages to and from our support team",
    "Some messages may arrive late or not at all, and some conversations may not load.",
    "Some messages may not have arrived. If you wrote to us in that time and got no answer, please write again.",
)
BY_CAUSE: dict[Cause, CustomerWords] = {
    "vendor_slow": CustomerWords(
        "the speed of our support messages",
        "Conversations may load and send slowly.",
        "Conversations may have loaded and been sent slowly.",
    ),
    "search_degraded": CustomerWords(
        "finding earlier conversations",
        "Our support team may take longer to find what you wrote to us before.",
        "Our support team may have taken longer to find what you wrote to us before.",
    ),
    "webhooks_delayed": CustomerWords(
        "late replies and notifications",
        "Replies and notifications may arrive late.",
        "Replies and notifications may have arrived late.",
    ),
}
HEADLINES: dict[State, tuple[str, str]] = {
    "open": ("We are looking into a problem with {what}", "Our team is working on it."),
    "mitigated": ("The problem with {what} is easing", "We have taken steps that ease it, and we keep watching."),
    "resolved": ("The problem with {what} is over", "It has been resolved. We are reviewing how to make it rarer."),
}
NOT_FOR_CUSTOMERS = re.compile(
    r"\b(intercom|fin|vendors?|providers?|suppliers?|third[- ]part(?:y|ies)|upstream|apis?|https?|tokens?|webhooks?"
    r"|secrets?|scopes?|oauth|rate[- ]limit\w*|quotas?|request_ids?|runbook|kubectl|pods?|deploy\w*|servers?|clusters?"
    r"|dns|tls|P[1-4]|[45]\d\d(?!\s+(?:customers|users|people|messages|conversations)\b)|[45]xx|INC-\S+|ev:\S*|\w+_\w+)\b|https?:|\S+@\S+|\b(?=\w*\d)[\w-]{12,}",
    re.IGNORECASE,
)


SHOWN = 20  # windows of a group in the support packet: the first and the last ten
REDACTOR = Redactor()


def internal_update(decision: Decision, facts: IncidentFacts, now: datetime | None = None) -> str:
    """Return the update for our own people, in the runbook's form, one line a field.

    decision: of the incident at its worst. now: when it is sent, UTC; the next update follows within the response time
    of the severity, counted from it.
    """
    over = facts.state in ("resolved", "reviewed")
    drill = f" (DRILL {facts.drill}: not real)" if facts.drill else ""
    fields = {
        "Status": _status(decision, facts),
        "Impact": impact(decision, facts),
        "Cause": decision.summary,
        "Action": "done; the review follows" if over else "; ".join(action.title for action in decision.actions[:3]),
        "Next update": _next_update(decision, facts, now or decision.at) or "none planned",
        "Commander": f"@{facts.commander.removeprefix('@')}" if facts.commander else "nobody yet",
    }
    none = "[OK] NO INCIDENT" if decision.verdict == "healthy" else "[severity unknown] INCIDENT"
    what = f"[{decision.severity}] INCIDENT" if decision.severity else none
    head = f"{what}: Intercom Integration{drill}"
    return "\n".join([_one_line(head), *(f"{name}: {_one_line(value)}" for name, value in fields.items())])


def slack_blocks(update: str) -> list[dict[str, object]]:
    """Return an internal update as Slack's Block Kit: a header, and its fields with their names in bold, escaped."""
    head, *lines = update.splitlines()
    fields = [line.partition(": ") for line in lines]
    body = "\n".join(f"*{escape(name, 40)}:* {escape(value, 450)}" for name, _, value in fields)
    return [
        {"type": "header", "text": {"type": "plain_text", "text": escape(head, 150), "emoji": False}},
        {"type": "section", "text": {"type": "mrkdwn", "text": body}},
    ]


def impact(decision: Decision, facts: IncidentFacts) -> str:
    """Return what users notice: as people wrote it down, else as the cause and severity suggest."""
    if facts.customer_impact:
        return facts.customer_impact
    if decision.cause in IMPACT_BY_CAUSE or decision.severity is None:
        seen = f"No failed call was seen (asked: {', '.join(decision.asked) or 'nothing'})."
        unknown = seen if decision.verdict == "healthy" else "Unknown: nobody has told, and no check saw it."
        return IMPACT_BY_CAUSE.get(decision.cause, unknown)
    return IMPACT_BY_SEVERITY[decision.severity]


def external_update(
    decision: Decision,
    facts: IncidentFacts,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    now: datetime | None = None,
) -> str:
    """Return the update for customers: what happened, what they notice, what was done, and no word of whose fault.

    decision: of the incident at its worst. since, until: of the incident, UTC, where known; now: when it is sent.
    The impact is the one that people wrote, unless it holds what `unfit_for_customers` finds.
    """
    if (decision.severity == "P4" or decision.verdict == "healthy") and not facts.customer_impact:
        return "No message to customers is needed: they notice nothing."
    over = facts.state in ("resolved", "reviewed")
    words = BY_CAUSE.get(decision.cause, EVERYTHING if decision.severity == "P1" else SOME)
    headline, done = HEADLINES["resolved" if over else facts.state]
    written = _one_line(facts.customer_impact)
    felt = written if written and not unfit_for_customers(written) else (words.then if over else words.now)
    due = _next_update(decision, facts, now or decision.at)
    lines = [
        headline.format(what=words.what),
        "",
        f"What happened: {_span(since, until if over else None, over=over)} a problem with {words.what}.",
        f"Impact: {felt}",
        f"What {'was done' if over else 'we do'}: {done}",
        f"Next update: {f'by {due}' if due else 'none, this is our last message about it'}.",
    ]
    return "\n".join(["DRILL: do not send this.", *lines] if facts.drill else lines)


def unfit_for_customers(text: str) -> tuple[str, ...]:
    """Return the words of a text that customers should not read: internals, ids, and names of whom we rely on."""
    return tuple(dict.fromkeys(match[0] for match in NOT_FOR_CUSTOMERS.finditer(text)))


@dataclass(frozen=True)
class Failure:
    """Failed calls of one window that look alike. window: its start; first, last: of the calls, UTC."""

    call: str
    status: int | None
    code: str
    window: datetime
    requests: int
    first: datetime
    last: datetime
    request_id: str | None


def support_packet(checks: Sequence[CheckRecord], windows: Iterable[Mapping[str, object]] = ()) -> str:
    """Return what Intercom's support asks for, as Markdown: request_ids by route, status and window, redacted.

    checks: of any runs. windows: rows of a rollup's `windows`, as plain mappings; only the failed ones are told.
    """
    failures = [*_failed_checks(checks), *_failed_rows(windows)]
    if not failures:
        return "# For Intercom's support\n\nNo failed call was seen: there is nothing to ask.\n"
    groups: dict[tuple[str, int | None, str], list[Failure]] = {}
    for failure in sorted(failures, key=lambda each: each.window):
        groups.setdefault((failure.call, failure.status, failure.code), []).append(failure)
    biggest_first = sorted(groups.values(), key=lambda group: -sum(each.requests for each in group))
    start, end = min(each.first for each in failures), max(each.last for each in failures)
    head = [
        "# For Intercom's support",
        "",
        f"- Workspace: {_workspace(checks)}",
        f"- Host: {_code(_host(checks))}",
        f"- Failed calls: {sum(each.requests for each in failures):,}, {_stamp(start)} to {_stamp(end)} UTC",
        "- Windows are those of the rate limit: 10 seconds, aligned to the clock.",
    ]
    return "\n".join([*head, *(line for group in biggest_first for line in _section(group))]) + "\n"


def _section(group: list[Failure]) -> list[str]:
    one, total = group[0], sum(each.requests for each in group)
    what = f"{one.status}" if one.status else "no answer"
    shown = group if len(group) <= SHOWN else [*group[: SHOWN // 2], *group[-SHOWN // 2 :]]
    rows = [
        f"| {_stamp(each.window)} | {each.requests:,} | {each.first:%H:%M:%S} | {each.last:%H:%M:%S} "
        f"| {_code(each.request_id) if each.request_id else 'none came'} |"
        for each in shown
    ]
    left_out = [f"\n{len(group) - len(shown)} windows between them are left out."] if len(group) > len(shown) else []
    title = f"## {_code(one.call)}: {what}{f' {_code(one.code)}' if one.code else ''}, {total:,} failed"
    columns = ["| Window (UTC) | Failed | First | Last | request_id |", "| --- | ---: | --- | --- | --- |"]
    return ["", title, "", *columns, *rows, *left_out]


def _failed_checks(checks: Sequence[CheckRecord]) -> Iterable[Failure]:
    for check in checks:
        if check.name not in ("api", "search") or check.outcome != "failed":
            continue
        method, _, url = check.target.partition(" ")
        yield Failure(
            call=_clean(f"{method} {urlsplit(url).path}"),
            status=check.http_status,
            code=_clean(check.error_code or check.error_type or ""),
            window=_window(check.started_at),
            requests=1,
            first=check.started_at,
            last=check.started_at,
            request_id=REDACTOR.identifier(check.request_id),
        )


def _failed_rows(windows: Iterable[Mapping[str, object]]) -> Iterable[Failure]:
    for row in windows:
        status, start = _number(row.get("status_code")), _time(row.get("window_start"))
        if start is None or not is_failure(status):
            continue
        yield Failure(
            call=_clean(f"{row.get('method') or ''} {row.get('route') or ''}"),
            status=status,
            code=_clean(row.get("error_type")),
            window=start,
            requests=_number(row.get("requests")) or 0,
            first=_time(row.get("first_at")) or start,
            last=_time(row.get("last_at")) or start,
            request_id=REDACTOR.identifier(row.get("sample_request_id")),
        )


def _workspace(checks: Sequence[CheckRecord]) -> str:
    known = [check for check in checks if check.workspace]
    if not known:
        return "unknown: no call that would tell succeeded"
    region = f", region {_clean(known[-1].region)}" if known[-1].region else ""
    return f"{_code(known[-1].workspace)}{region}"


def _host(checks: Sequence[CheckRecord]) -> str:
    urls = [check.target.partition(" ")[2] for check in checks if check.name in ("api", "search")]
    return urlsplit(urls[-1]).netloc if urls else "unknown"


def _status(decision: Decision, facts: IncidentFacts) -> str:
    if facts.state == "open" and decision.verdict == "healthy":
        return "NO INCIDENT FOUND"
    return STATUS[facts.state]


def _next_update(decision: Decision, facts: IncidentFacts, now: datetime) -> str:
    due = respond_by(now, decision.severity)
    over = due is None or facts.state in ("resolved", "reviewed")
    return "" if over or due is None else due.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span(since: datetime | None, until: datetime | None, *, over: bool) -> str:
    verb = "there was" if over else "there is"
    if since is None:
        return "Recently there was" if over else "At the moment there is"
    if until is None:
        return f"Since {_day(since)} UTC {verb}" if not over else f"From {_day(since)} UTC on {verb}"
    same_day = since.astimezone(UTC).date() == until.astimezone(UTC).date()
    end = f"{until.astimezone(UTC):%H:%M}" if same_day else _day(until)
    return f"From {_day(since)} to {end} UTC {verb}"


def _day(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M}"


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _window(moment: datetime) -> datetime:
    return moment - timedelta(seconds=moment.timestamp() % WINDOW_S)


def _number(value: object) -> int | None:
    """Return a whole number, or None for the many ways in which a frame says that there is none."""
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]  # whatever it is, int() tells
    except (TypeError, ValueError):
        return None


def _time(value: object) -> datetime | None:
    if not isinstance(value, datetime) or value != value:  # noqa: PLR0124  # pandas' NaT is a datetime, and not itself
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _clean(value: object) -> str:
    return REDACTOR.text(value, 120).strip() if isinstance(value, str) else ""


def _code(text: str | None) -> str:
    """Return text as Markdown code that nothing in it can end or split."""
    return "`" + re.sub(r"[`|\\]", "·", text or "") + "`"


def _one_line(text: str) -> str:
    return " ".join(text.split())
