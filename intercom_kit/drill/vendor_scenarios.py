"""The drills in which the fault is Intercom's, as data; see scenarios.py."""

from typing import Any

from intercom_kit.drill.scenario import (
    CONVERSATIONS,
    HOUR,
    MINUTE,
    SEARCHES,
    Effect,
    Health,
    Notice,
    Scenario,
    Truth,
    lasting,
    with_truths,
)


def _outage(noticed_s: float, end_s: float) -> dict[str, Any]:
    """An outage: suspected until the page says so, then acknowledged."""
    suspected = Truth(0, noticed_s, "vendor_suspected", "vendor_errors", "P1")
    return with_truths(end_s, (suspected, Truth(noticed_s, end_s, "vendor_acknowledged", "vendor_errors", "P1")))


def _server_error(end_s: float, share: float = 1.0, routes: tuple[str, ...] = ()) -> Effect:
    return Effect(
        0, end_s, share=share, routes=routes, status=500, code="server_error", message="Internal server error"
    )


_FLAPS = ((0, 4 * MINUTE), (7 * MINUTE, 13 * MINUTE), (16 * MINUTE, 20 * MINUTE), (25 * MINUTE, 31 * MINUTE))

_AUSTRALIA = Notice(  # 2026-04-27: errors from 11:14 to 12:50, the page from 11:37 to 12:52
    "REST API errors in Australia",
    (
        (23 * MINUTE, "investigating", "We are seeing errors on the REST API."),
        (94 * MINUTE, "monitoring", "We have mitigated the issue and are watching it."),
        (98 * MINUTE, "resolved", "This incident has been resolved."),
    ),
    regions=("au",),
)

VENDOR_SCENARIOS = (
    Scenario(
        "server-overloaded",
        "Intercom's servers shed load: 429 too_many_requests while nobody's quota is used up.",
        effects=(
            Effect(0, 25 * MINUTE, status=429, code="too_many_requests", message="Too many requests", headers=True),
        ),
        **lasting(25 * MINUTE, "vendor_suspected", "server_overload", "P2", "degraded"),
    ),
    Scenario(
        "vendor-outage",
        "Every call ends in a 5xx; the status page says so after four minutes.",
        effects=(
            _server_error(HOUR, share=0.6),
            Effect(0, HOUR, share=0.25, status=502, body="html"),
            Effect(0, HOUR, status=503, body="empty"),
        ),
        page=(
            Notice(
                "Elevated API errors",
                (
                    (4 * MINUTE, "investigating", "We are investigating failing API calls."),
                    (20 * MINUTE, "identified", "A database is overloaded; we are adding capacity."),
                    (59 * MINUTE, "monitoring", "Errors are falling."),
                    (62 * MINUTE, "resolved", "This incident has been resolved."),
                ),
                impact="critical",
                component_status="major_outage",
            ),
        ),
        **_outage(4 * MINUTE, HOUR),
        page_form="statuspage",
    ),
    Scenario(
        "vendor-outage-unannounced",
        "Every call ends in a 5xx, and for 23 minutes the status page says that all is well.",
        effects=(_server_error(80 * MINUTE, share=0.8), Effect(0, 80 * MINUTE, status=504, body="html")),
        page=(
            Notice(
                "API errors",
                (
                    (23 * MINUTE, "investigating", "We are investigating an issue with the API."),
                    (79 * MINUTE, "monitoring", "A fix is in place."),
                    (82 * MINUTE, "resolved", "This incident has been resolved."),
                ),
            ),
        ),
        **_outage(23 * MINUTE, 80 * MINUTE),
    ),
    Scenario(
        "vendor-outage-page-down",
        "Every call ends in a 5xx, and the status page is down as well.",
        effects=(_server_error(50 * MINUTE),),
        **with_truths(
            50 * MINUTE,
            (Truth(0, 50 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),),
        ),
        page_form="down",
    ),
    Scenario(
        "regional-outage",
        "The REST API of the Australian region fails and times out; the page is 23 minutes late (2026-04-27).",
        effects=(
            Effect(0, 96 * MINUTE, share=0.4, routes=CONVERSATIONS, hang=True),
            _server_error(96 * MINUTE),
        ),
        page=(_AUSTRALIA,),
        **_outage(23 * MINUTE, 96 * MINUTE),
        region="au",
        default_at_s=30 * MINUTE,
    ),
    Scenario(
        "outage-elsewhere",
        "The Australian region is down and the page is red, but our workspace lives in the United States.",
        page=(_AUSTRALIA,),
        default_at_s=30 * MINUTE,
    ),
    Scenario(
        "slow-api",
        "One query without an index: every answer comes, but takes over two seconds (2025-10-17).",
        effects=(Effect(0, 40 * MINUTE, delay_ms=2600, ramp_s=3 * MINUTE),),
        health=(Health(3 * MINUTE, "degraded"), Health(40 * MINUTE, "healthy")),
        truths=(Truth(3 * MINUTE, 40 * MINUTE, "vendor_suspected", "vendor_slow", "P2"),),
        recovery_s=40 * MINUTE,
    ),
    Scenario(
        "search-timeouts",
        "Searches never answer; reading a contact or a conversation by its id works.",
        effects=(Effect(0, 50 * MINUTE, routes=SEARCHES, hang=True),),
        truths=(Truth(0, 50 * MINUTE, "vendor_suspected", "search_degraded", "P3"),),
        recovery_s=50 * MINUTE,
    ),
    Scenario(
        "webhooks-delayed",
        "Background workers in the United States are down: the API is fine, webhooks pile up (2024-11-05).",
        page=(
            Notice(
                "Webhooks are delayed",
                (
                    (15 * MINUTE, "identified", "Webhooks are queued and will be sent late."),
                    (150 * MINUTE, "resolved", "All queued webhooks have been sent."),
                ),
                impact="minor",
                components=("Webhooks",),
                component_status="degraded_performance",
                regions=("us",),
            ),
        ),
        truths=(Truth(15 * MINUTE, 150 * MINUTE, "vendor_acknowledged", "webhooks_delayed", "P3"),),
        recovery_s=150 * MINUTE,
        default_at_s=30 * MINUTE,
        page_form="redirect",
    ),
    Scenario(
        "conversations-fail",
        "Conversations cannot be read: every call for one ends in a 500, contacts and search are well.",
        effects=(_server_error(40 * MINUTE, routes=("/conversations", "/conversations/{id}")),),
        **with_truths(40 * MINUTE, (Truth(0, 40 * MINUTE, "vendor_suspected", "vendor_errors", "P2"),), "degraded"),
    ),
    Scenario(
        "every-other-call",
        "One of two backends is gone: every other call ends in a 504, and which one is luck.",
        effects=(Effect(0, 40 * MINUTE, share=0.5, status=504, body="html"),),
        **with_truths(40 * MINUTE, (Truth(0, 40 * MINUTE, "vendor_suspected", "vendor_errors", "P2"),), "degraded"),
    ),
    Scenario(
        "flapping",
        "Errors come and go every few minutes; each pause looks like the end.",
        effects=tuple(
            Effect(start_s, end_s, status=503, code="service_unavailable", message="Service unavailable")
            for start_s, end_s in _FLAPS
        ),
        health=tuple(
            Health(at_s, value) for flap in _FLAPS for at_s, value in zip(flap, ("unhealthy", "healthy"), strict=True)
        ),
        truths=tuple(Truth(start_s, end_s, "vendor_suspected", "vendor_errors", "P1") for start_s, end_s in _FLAPS),
        recovery_s=31 * MINUTE,
        default_at_s=9 * MINUTE,
    ),
    Scenario(
        "maintenance",
        "Announced maintenance: 503 for every call (2019-06-19, 07:00 to 08:26).",
        effects=(Effect(0, 86 * MINUTE, status=503, body="empty"),),
        page=(
            Notice(
                "Database maintenance",
                (
                    (-24 * HOUR, "scheduled", "The API will be unavailable."),
                    (0, "in_progress", "The maintenance is in progress."),
                    (86 * MINUTE, "completed", "The maintenance has been completed."),
                ),
                component_status="under_maintenance",
                kind="maintenance",
            ),
        ),
        **lasting(86 * MINUTE, "vendor_acknowledged", "maintenance", "P1"),
        page_form="statuspage",
    ),
    Scenario(
        "component-outage",
        "Every call ends in a 5xx; the page lists no incident, but shows the REST API in a major outage.",
        effects=(_server_error(45 * MINUTE),),
        page=(
            Notice(
                "REST API",
                ((5 * MINUTE, "investigating", ""), (46 * MINUTE, "resolved", "")),
                impact="critical",
                component_status="major_outage",
                kind="component",
            ),
        ),
        **_outage(5 * MINUTE, 45 * MINUTE),
    ),
    Scenario(
        "resolved-too-early",
        "The page calls the incident resolved after half an hour, but our calls fail for twenty minutes more.",
        effects=(_server_error(50 * MINUTE),),
        page=(
            Notice(
                "Elevated API errors",
                (
                    (6 * MINUTE, "investigating", "We are investigating failing API calls."),
                    (30 * MINUTE, "resolved", "This incident has been resolved."),
                ),
            ),
        ),
        **with_truths(
            50 * MINUTE,
            (
                Truth(0, 6 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),
                Truth(6 * MINUTE, 30 * MINUTE, "vendor_acknowledged", "vendor_errors", "P1"),
                Truth(30 * MINUTE, 50 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),
            ),
        ),
        default_at_s=34 * MINUTE,
    ),
    Scenario(
        "another-product",
        "Every call ends in a 503; the page tells of the Mobile APIs only, which are not the REST API.",
        effects=(Effect(0, 40 * MINUTE, status=503, body="html"),),
        page=(
            Notice(
                "Elevated errors",
                (
                    (3 * MINUTE, "investigating", "We are investigating errors."),
                    (41 * MINUTE, "resolved", "This incident has been resolved."),
                ),
                components=("Mobile APIs",),
            ),
        ),
        **lasting(40 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),
        page_form="statuspage",
    ),
    Scenario(
        "maintenance-overdue",
        "A maintenance was to end after an hour, is not over half an hour later, and the API is still closed.",
        effects=(Effect(0, 100 * MINUTE, status=503, body="empty"),),
        page=(
            Notice(
                "Database maintenance",
                (
                    (-24 * HOUR, "scheduled", "The API will be unavailable for an hour."),
                    (0, "in_progress", "The maintenance is in progress."),
                    (100 * MINUTE, "completed", "The maintenance has been completed."),
                ),
                component_status="under_maintenance",
                kind="maintenance",
                planned_end_s=HOUR,
            ),
        ),
        **lasting(100 * MINUTE, "vendor_acknowledged", "maintenance", "P1"),
        default_at_s=90 * MINUTE,
        page_form="statuspage",
    ),
)
