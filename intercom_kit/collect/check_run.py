"""One run of the checks: what all of them share, and how a record is made of an answer."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from intercom_kit.collect.http import Answer, Clock, peer_certificate, utc_now
from intercom_kit.collect.network import Certificate
from intercom_kit.records import CheckName, CheckRecord, Outcome, RawResponse
from intercom_kit.redaction import Redactor
from intercom_kit.settings import Settings


@dataclass(frozen=True)
class CheckRun:
    """One run of the checks.

    id: its name. deadline: when every check gives up, on the running loop's clock. clock: gives the records' times.
    """

    settings: Settings
    redactor: Redactor
    id: str
    deadline: float
    clock: Clock = utc_now
    _certificates: dict[str, asyncio.Task[Certificate | None]] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - asyncio.get_running_loop().time()

    async def record(
        self, name: CheckName, answer: Answer, outcome: Outcome, observed: str, **found: object
    ) -> CheckRecord:
        """Make the record of a check from its answer; `found` holds further fields, and wins."""
        answered = answer.status is not None and not answer.error_type
        certificate = await self._certificate(answer.url) if answer.tls_problem else None
        if certificate:
            names = ", ".join(certificate.names[:3]) or "no name"
            observed += f" The certificate is for {names}, issued by {certificate.issuer or 'nobody named'}."
        fields: dict[str, Any] = {
            "run": self.id,
            "name": name,
            "outcome": outcome,
            "observed": observed,
            "started_at": answer.started_at,
            "duration_ms": answer.duration_ms,
            "http_status": answer.status,
            "error_type": answer.error_type,
            "slow": answered and answer.duration_ms > self.settings.slow_s * 1000,
            "phases": answer.phases,
            "tls_problem": answer.tls_problem,
            "tls_issuer": certificate.issuer if certificate else None,
            "tls_names": certificate.names if certificate else (),
        }
        return CheckRecord.model_validate(fields | found)

    def not_asked(self, name: CheckName, observed: str, skipped: str = "") -> CheckRecord:
        """Make the record of a check that has nothing to ask, or nothing to ask it with."""
        return CheckRecord(
            run=self.id,
            name=name,
            outcome="unknown",
            observed=f"Not asked: {observed}",
            started_at=self.clock(),
            duration_ms=0,
            configured=False,
            skipped=skipped,
        )

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

    async def _certificate(self, url: str) -> Certificate | None:
        """Return what the refused certificate of a URL's host says; all checks of a host look at it once."""
        host = urlsplit(url).netloc
        if host not in self._certificates:
            self._certificates[host] = asyncio.create_task(peer_certificate(url, deadline=self.deadline))
        read = await self._certificates[host]
        clean = self.redactor.text
        return Certificate(clean(read.issuer, 120), tuple(clean(name, 80) for name in read.names)) if read else None
