"""The bottom line of a decision, one or two sentences, and the notes shown with it."""

from collections.abc import Callable, Iterable

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.symptoms import CALLS
from intercom_kit.decide.tree import Ending
from intercom_kit.decide.words import CAUSES, VERDICTS
from intercom_kit.records import Cause, CheckName

GAP = "monitoring gap (P4): "


def summary(f: Facts, ending: Ending) -> str:
    """Return the bottom line: whose problem it is, what is wrong, and what else has to be known at once."""
    line = VERDICTS[ending.verdict].line
    if not f.page.readable:
        line = line.replace("does not say so", "could not be read")
    elif f.page.resolved and f.failing:
        line = line.replace("does not say so", "says that it was resolved")
    return " ".join([line.format(what=_what(f, ending)), *_besides(f, ending)])


def notes(f: Facts) -> tuple[str, ...]:
    """Return what could not be seen while all that was asked works, each with its severity."""
    if f.failing or not f.working:
        return ()
    gaps = list(f.unseen)
    if not f.page.readable:
        gaps.append("the status page could not be read, so an incident there would go unseen")
    if f.out_of_scope:
        gaps.append("conversations could not be tried, as our token may not read them")
    return tuple(GAP + gap for gap in gaps)


def _what(f: Facts, ending: Ending) -> str:
    """Return what is wrong, as a clause: the cause's own, or one that tells more of what the checks saw."""
    clause = CAUSES[ending.cause].clause
    more = DETAILED.get(ending.cause)
    return more(f, clause) if more else clause


def _unknown(f: Facts, clause: str) -> str:
    if f.lead:
        return f"{f.lead.route}: {f.lead.text}"
    return "the API could not be asked, as no token is set" if f.without_token else clause


def _slow(f: Facts, clause: str) -> str:
    some = set(f.slow_calls) < set(f.working)
    return f"calls to its API are slow ({', '.join(CALLS[name][0] for name in f.slow_calls)})" if some else clause


def _search(f: Facts, clause: str) -> str:
    if {"api", "conversations"} <= set(f.working):
        return clause
    return f"search fails or is slow while {_listed(f.working) or 'what else was tried'} works"


def _network(f: Facts, clause: str) -> str:
    if f.working or f.connects is not False:
        return clause
    return "no connection to Intercom's API can be made" + (f", and {f.sign_of_ours}" if f.sign_of_ours else "")


def _forbidden(f: Facts, clause: str) -> str:
    message = f.lead.check.error_message if f.lead else None
    return f"{clause}: “{message.rstrip('.')}”" if message else clause


def _gateway(f: Facts, clause: str) -> str:
    line = f.lead.check.first_line if f.lead else ""
    return f"{clause} (it begins “{line}”)" if line else clause


def _vendor_errors(f: Facts, clause: str) -> str:
    if not f.failing or f.every_call_fails:
        return clause
    if f.only:
        return f"{f.failing[0].route} alone fails ({f.failing[0].text})"
    shown = _listed(call.name for call in f.same_cause)
    if any(call.is_intermittent for call in f.same_cause):
        shown = "; ".join(f"{call.route}: {call.text}" for call in f.same_cause)
    return f"some calls to its API fail ({shown})"


DETAILED: dict[Cause, Callable[[Facts, str], str]] = {
    "none": lambda f, clause: f"{clause} ({', '.join(CALLS[name][1] for name in f.tried)})",
    "unknown": _unknown,
    "vendor_errors": _vendor_errors,
    "vendor_slow": _slow,
    "search_degraded": _search,
    "network": _network,
    "forbidden": _forbidden,
    "gateway": _gateway,
}


def _besides(f: Facts, ending: Ending) -> list[str]:
    """Return the sentences that follow: other failures, a maintenance's end, what a healthy verdict must not hide."""
    said = [f"Besides, {call.other_text}." for call in f.others]
    if ending.cause == "maintenance":
        said += [f"Reported: {f.page.reported}."]
    if ending.verdict != "healthy":
        return said
    if f.quota_low:
        said.append(f"But our rate limit is nearly used up: {f.quota_low}.")
    if f.page.explains_api or f.page.about("search", "access"):
        said.append(f"But the status page reports {f.page.reported}, which our calls do not notice.")
    return said


def _listed(names: Iterable[CheckName]) -> str:
    *first, last = [CALLS[name][0] for name in names] or [""]
    return f"{', '.join(first)} and {last}" if first else last
