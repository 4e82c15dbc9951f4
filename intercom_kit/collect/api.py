"""Intercom's API: how it is called, what its answers say and whose they are; and how a check's record is made of one.

Intercom's API answers with JSON and `X-Request-Id`; its servers with nginx's or its own 50x pages; its load balancer
(`Server: awselb/2.0`) without an id. Any other answer comes from a proxy, gateway or filter on the way. Source: public
reports of callers behind such, and the vendor's answers as recorded in public code.
"""

import asyncio
import hashlib
import hmac
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from intercom_kit import protocol
from intercom_kit.collect.http import REDIRECTS, Answer, Clock, ask, peer_certificate, utc_now
from intercom_kit.collect.network import Certificate
from intercom_kit.errors import InputError
from intercom_kit.records import AnsweredBy, CheckName, CheckRecord, ErrorType, Outcome, RateLimit, RawResponse
from intercom_kit.redaction import Redactor
from intercom_kit.settings import Settings
from intercom_kit.text import is_plausible

SEARCH = {"query": {"field": "created_at", "operator": ">", "value": 0}, "pagination": {"per_page": 1}}

_LOOKED_AT = 64 * 1024  # bytes of a body

# Products that stand between a caller and the internet, by what their pages, headers and login hosts are known by.
_FILTERS = re.compile(
    r"squid|zscaler|zscloud|bluecoat|blue coat|proxysg|netskope|goskope|forti(?:guard|gate|net|web|proxy)|palo ?alto"
    r"|globalprotect|prisma access|websense|forcepoint|mcafee|skyhigh|trellix|sophos|barracuda|umbrella|opendns"
    r"|ironport|check ?point|usercheck|trend ?micro|symantec|sonicwall|watchguard|iboss|smoothwall"
    r"|menlo ?security|lightspeed|securly|untangle"
    r"|mitmproxy|privoxy|tinyproxy|burp suite|charles proxy|e2guardian|dansguardian|safebrowse"
    r"|cloudflare ?(?:access|gateway|warp|zero trust)|cloudflareaccess|cloudflareclient|cdn-cgi/access",
    re.IGNORECASE,
)
_BLOCK_PAGE = re.compile(
    r"captive portal|wi-?fi|hotspot|web ?filter|content filter|url filter|web gateway|secure gateway|proxy server"
    r"|corporate polic|company polic|security polic|acceptable use|network polic|your (?:it|network|system) admin"
    r"|(?:has been |was |is )?blocked by|your organi[sz]ation|not allowed to browse"
    r"|access to this (?:site|page|website)|kong error|envoy|upstream connect error"
    r"|istio|traefik|haproxy|api gateway|no route matched",
    re.IGNORECASE,
)
_FOREIGN_HEADERS = re.compile(
    r"proxy-|x-squid|x-bluecoat|x-zscaler|x-netskope|x-forti|x-mcafee|x-iwsaas|x-webmarshal|cf-access-|x-kong|x-envoy"
    r"|x-amzn-requestid|x-amz-apigw|x-azure-ref|x-ms-proxy|x-goog-iap|x-traefik|x-oauth2-proxy"
)
_LOGIN = re.compile(r"log-?in|sign-?in|sso|oauth|saml|auth|portal|captive|block|denied|proxy|redirect", re.IGNORECASE)
_PUBLIC_EDGES = ("cloudflare", "cloudfront", "akamai", "fastly", "varnish")  # nobody can tell whose they are
_UNSEEN = re.compile(rb"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^>]*>?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class CheckRun:
    """One run of the checks: how they call the API, and how a record is made of an answer.

    id: its name. deadline: when every check gives up, on the running loop's clock. clock: gives the records' times.
    """

    settings: Settings
    redactor: Redactor
    id: str
    deadline: float
    clock: Clock = utc_now
    _certificates: dict[str, asyncio.Task[Certificate | None]] = field(default_factory=dict)

    @classmethod
    def begin(cls, settings: Settings, run_id: str, *, time_limits: float = 1, clock: Clock = utc_now) -> Self:
        """Begin a run on the running loop; time_limits: how many times settings.timeout_s it may take."""
        deadline = asyncio.get_running_loop().time() + time_limits * settings.timeout_s
        return cls(settings, settings.redactor, run_id, deadline, clock)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - asyncio.get_running_loop().time()

    async def call(self, method: str, path: str, body: object = None) -> Answer:
        """Call Intercom's API with the settings' token and version; body: sent as JSON unless None. See `ask`."""
        return await ask(
            method,
            self.settings.base_url + path,
            deadline=self.deadline,
            headers={"Intercom-Version": self.settings.api_version}
            | ({"Content-Type": "application/json"} if body is not None else {}),
            token=self.settings.token,
            content=json.dumps(body).encode() if body is not None else b"",
            clock=self.clock,
        )

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


def parsed(answer: Answer) -> tuple[object, ErrorType | None]:
    """Return the parsed body of an answer, or None and why there is none."""
    if answer.error_type:
        return None, answer.error_type
    try:
        return answer.json(), None
    except ValueError:
        return None, "not_json"


def inner(value: object, *keys: str) -> object:
    """Return what is at the keys of parsed JSON of any shape; None where it has another one."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def error_of(body: object, redactor: Redactor) -> protocol.ApiError:
    """Return code, message and request id of an error body, scrubbed; None for what it lacks."""
    code, message, request_id = protocol.api_error(body)
    plain = code is not None and redactor.text(code) == code
    return protocol.ApiError(
        code if plain else None, redactor.text(message) if message else None, redactor.identifier(request_id)
    )


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return what the X-RateLimit headers say, or None where none of them says a number."""
    quota = protocol.rate_limit(headers)
    if quota is None:
        return None
    reset_at = datetime.fromtimestamp(quota.reset, UTC) if quota.reset is not None else None
    reset_at = reset_at if reset_at and is_plausible(reset_at) else None
    return RateLimit(limit=quota.limit, remaining=quota.remaining, reset_at=reset_at)


def answered_by(answer: Answer, body: object) -> AnsweredBy | None:
    """Return whose answer this is to a call of the API, None without an answer or where it is not clear.

    body: the parsed JSON, None where it is none.
    """
    if answer.status is None:
        return "proxy" if answer.proxy_status else None
    if answer.status in (407, 511):  # a proxy's, and a captive portal's: no API has them
        return "gateway"
    own = bool(answer.headers.get("x-request-id"))
    if isinstance(body, dict | list):
        return _of_json(answer, body, own=own)
    servers = answer.headers.get("server", "").lower().split(",")  # doubled where something on the way adds its own
    if any(server.strip().startswith("awselb") for server in servers) and not own:
        return "edge"
    return _of_redirect(answer, own=own) if answer.status in REDIRECTS else _of_page(answer, own=own)


def first_line(answer: Answer) -> str:
    """Return the first line of text of a body, without tags; not scrubbed yet."""
    text = html.unescape(_UNSEEN.sub(b"\n", answer.body[:_LOOKED_AT]).decode("utf-8", "replace"))
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _of_json(answer: Answer, body: object, *, own: bool) -> AnsweredBy | None:
    if own:
        return "intercom"
    if _has_foreign_head(answer.headers):
        return "gateway"
    if isinstance(body, dict) and ("errors" in body or body.get("type") in ("error", "admin", "list")):
        return "intercom"
    return "gateway" if _looks_foreign(answer.headers) else None


def _of_redirect(answer: Answer, *, own: bool) -> AnsweredBy | None:
    """Judge a redirect by where it leads: the vendor moves things about its own hosts, a portal to its login."""
    location = answer.headers.get("location", "")
    host, here = urlsplit(location).hostname or "", urlsplit(answer.url).hostname or ""
    related = not host or host.split(".")[-2:] == here.split(".")[-2:] or "intercom" in host.split(".")[-2:][0]
    if _says_foreign(answer) or _FILTERS.search(location) or (not related and not own and _LOGIN.search(location)):
        return "gateway"
    return "intercom" if own or (host and related) else None


def _of_page(answer: Answer, *, own: bool) -> AnsweredBy | None:
    """Judge a page or text by its marks; without any, Intercom's own are those of nginx with a 5xx."""
    if _says_foreign(answer) or (not own and _looks_foreign(answer.headers)):
        return "gateway"
    status, server = answer.status or 0, answer.headers.get("server", "").lower()
    is_page = b"<" in answer.body[:_LOOKED_AT]
    if own or (status >= 500 and answer.body and (server == "" or server.startswith("nginx"))):
        return "intercom"
    foreign = bool(answer.body) and (status < 300 or (is_page and status in (401, 403, 451)))
    return "gateway" if foreign else None


def _says_foreign(answer: Answer) -> bool:
    """Tell whether an answer names a filter, or something else that is not Intercom's."""
    text = answer.body[:_LOOKED_AT].decode("utf-8", "replace")
    if _has_foreign_head(answer.headers) or _FILTERS.search(text):
        return True
    return bool(_BLOCK_PAGE.search(text)) and not answer.headers.get("x-request-id")


def _has_foreign_head(headers: Mapping[str, str]) -> bool:
    """Tell whether headers name a filter, or ask for a password: the API takes bearer tokens only."""
    named = _FILTERS.search(headers.get("server", "")) or any(map(_FOREIGN_HEADERS.match, headers))
    asks = re.match(r"\s*(basic|ntlm|negotiate|digest)\b", headers.get("www-authenticate", ""), re.IGNORECASE)
    return bool(named or asks)


def _looks_foreign(headers: Mapping[str, str]) -> bool:
    """Tell whether headers are those of a gateway: it adds `Via`, or is no nginx."""
    server = headers.get("server", "").lower()
    if any(edge in f"{server} {headers.get('via', '')}".lower() for edge in _PUBLIC_EDGES):
        return False
    return "via" in headers or not (server == "" or server.startswith(("nginx", "intercom")))


def verify_signature(client_secret: SecretStr | str, body: bytes, header: str | None) -> bool:
    """Tell whether a webhook comes from somebody who knows the client secret; in constant time.

    `X-Hub-Signature` is `sha1=` and the hex HMAC-SHA1 of the raw body with the app's client secret (SHA-1 is not
    broken as an HMAC). body: as it came, before anything parsed it. header: None where there was none. Raises
    InputError for an empty secret, with which anybody could sign.
    """
    secret = client_secret.get_secret_value() if isinstance(client_secret, SecretStr) else client_secret
    if not secret:
        raise InputError("The client secret is empty. Copy it from Developer Hub > your app > Basic information.")
    algorithm, _, signature = (header or "").strip().partition("=")
    expected = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    return algorithm.lower() == "sha1" and hmac.compare_digest(expected.encode(), signature.lower().encode())
