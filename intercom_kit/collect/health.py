"""The check of our own service: what stands at a path of its health endpoint's JSON."""

import json

from intercom_kit.collect.client import Answer, ask
from intercom_kit.collect.round import Round, in_time
from intercom_kit.records import CheckRecord, Outcome

HEALTHY = frozenset(
    [
        *("alive", "available", "connected", "good", "green", "healthy", "normal", "ok", "okay", "online"),
        *("operational", "pass", "passed", "passing", "ready", "running", "success", "true", "up"),
    ]
)


async def check_health(this: Round) -> CheckRecord:
    """Ask our own health endpoint; without one there is nothing to ask, and the record says so."""
    url, path = this.settings.health_url, this.settings.health_path
    if not url:
        return CheckRecord(
            run=this.run,
            name="health",
            outcome="unknown",
            observed="Not asked: no health endpoint is configured. Set INTERCOM_HEALTH_URL to have it checked.",
            started_at=this.clock(),
            duration_ms=0,
            configured=False,
        )
    answer = await ask("GET", url, deadline=this.deadline, clock=this.clock)
    found, value = _value(answer, path)
    shown = this.redactor.text(value, 80) if found else None
    body = json.dumps({path: shown}, ensure_ascii=False) if found else this.redactor.page(answer.body)
    outcome, observed = _judge(this, answer, shown, path)
    more: dict[str, object] = {
        "target": f"GET {this.redactor.url(url)}",
        "health_value": shown,
        "responses": this.evidence(answer, body),
    }
    if not found and answer.status == 200 and not answer.error_type:
        more["error_type"] = "not_json" if value == "not_json" else "wrong_shape"
    return this.record("health", answer, outcome, observed, **more)


def _judge(this: Round, answer: Answer, value: str | None, path: str) -> tuple[Outcome, str]:
    """Say whether our service is well, and why we think so."""
    if answer.status is None:
        return "failed", f"Our service's health endpoint gives no answer: {this.why_not(answer)}."
    says = f"Our service says {path} = {value}"
    if answer.status >= 500:
        return "failed", f"Our service's health endpoint answered {answer.status}." + (f" {says}." if value else "")
    if answer.error_type:
        return "unknown", f"Our service's health endpoint answered {answer.status}, but {this.why_not(answer)}."
    if answer.status >= 400:
        return "unknown", f"Our service's health endpoint answered {answer.status}. Check INTERCOM_HEALTH_URL."
    if value is None:
        return "unknown", f"Our service's health endpoint has nothing at {path}. Check INTERCOM_HEALTH_PATH."
    took = in_time(answer.duration_ms)
    return ("ok" if value.lower() in HEALTHY else "failed"), f"{says}, in {took}."


def _value(answer: Answer, path: str) -> tuple[bool, str]:
    """Return whether a plain value stands at the path, and that value as text, or else why there is none."""
    if answer.error_type:
        return False, answer.error_type
    try:
        value = answer.json()
    except ValueError:
        return False, "not_json"
    for key in path.split("."):
        if isinstance(value, list) and key.isdecimal() and int(key[:6]) < len(value):
            value = value[int(key[:6])]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return False, "wrong_shape"
    if isinstance(value, bool):
        return True, str(value).lower()
    plain = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 10**15)
    return (True, str(value)) if plain else (False, "wrong_shape")
