"""What the checks of one run share, and how an answer becomes a record."""

from dataclasses import dataclass

from intercom_kit.collect.client import Answer, Clock, utc_now
from intercom_kit.collect.redact import Redactor
from intercom_kit.records import CheckName, CheckRecord, ErrorType, Outcome, RawResponse
from intercom_kit.settings import Settings


@dataclass(frozen=True)
class Round:
    """One run of the checks.

    run: its name. deadline: when every check gives up, on the running loop's clock. clock: gives the records' times.
    """

    settings: Settings
    redactor: Redactor
    run: str
    deadline: float
    clock: Clock = utc_now

    def record(self, name: CheckName, answer: Answer, outcome: Outcome, observed: str, **found: object) -> CheckRecord:
        """Make the record of a check from its answer; `found` holds further fields, and wins."""
        answered = answer.status is not None and not answer.error_type
        fields: dict[str, object] = {
            "run": self.run,
            "name": name,
            "outcome": outcome,
            "observed": observed,
            "started_at": answer.started_at,
            "duration_ms": answer.duration_ms,
            "http_status": answer.status,
            "error_type": answer.error_type,
            "slow": answered and answer.duration_ms > self.settings.slow_s * 1000,
            "phases": answer.phases,
        }
        return CheckRecord.model_validate(fields | found)

    def raw(self, answer: Answer, allowed: frozenset[str]) -> tuple[RawResponse, ...]:
        """Return the redacted answer as evidence; nothing where none came."""
        try:
            body, cut = self.redactor.body(answer.json(), allowed) if answer.body else ("", False)
        except ValueError:
            body, cut = self.redactor.page(answer.body), False
        return self.evidence(answer, body, cut=cut)

    def evidence(self, answer: Answer, body: str, *, cut: bool = False) -> tuple[RawResponse, ...]:
        """Return an answer with an already redacted body as evidence; nothing where none came."""
        if answer.status is None:
            return ()
        url, headers = self.redactor.url(answer.url), self.redactor.headers(answer.headers)
        cut = cut or answer.error_type == "body_too_large"
        return (RawResponse(url=url, status=answer.status, headers=headers, body=body, truncated=cut),)

    def why_not(self, answer: Answer) -> str:
        """Return in plain words why an answer is none or not whole; empty when it is whole."""
        within = f" within {self.settings.timeout_s:g} s" if answer.error_type == "timeout" else ""
        return self.redactor.text(answer.detail + within)


def parsed(answer: Answer) -> tuple[object, ErrorType | None]:
    """Return the parsed body of an answer, or None and why there is none."""
    if answer.error_type:
        return None, answer.error_type
    try:
        return answer.json(), None
    except ValueError:
        return None, "not_json"


def in_time(duration_ms: float) -> str:
    """Return a duration as people say it: 152 ms, 2.3 s."""
    return f"{duration_ms:.0f} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.1f} s"
