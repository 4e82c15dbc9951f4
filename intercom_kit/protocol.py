"""The route of a call: its path with every identifier replaced, so that no log of ours ever holds one.

A segment of a path is kept only when the vendor's API spells it; whatever else stands there could be somebody's id,
name or e-mail address.
"""

import re

# Every fixed segment of the paths of Intercom's API, 2.16 and older (its specification and its official SDK).
_SEGMENTS = """
activity_logs admins ai archive articles attach attributes audiences away away_status_reasons block brands bulk
calls cancel collect collections companies contacts content content_import_sources conversation_parts conversations
convert counts custom_channel_events custom_object_instances customers data data_attributes detach download emails
enqueue events export external_id external_pages fin fin_voice find_by_external_id get_datasets handling_events
help_center help_centers internal_articles ip_allowlist items jobs leads list macros me merge messages news
news_items newsfeeds notes notify_attribute_collected notify_new_conversation notify_new_message
notify_quick_reply_selected parts phone_call_redirects phone_number recording redact register reply reporting_data
run_assignment_rules scroll search sections segments start status subscription_types subscriptions summaries tags
teams ticket_states ticket_types tickets transcript unarchive users visitors workflows
"""
WORDS = frozenset(_SEGMENTS.split())
_PLACEHOLDER = re.compile(r"/(?:\{[^/]*\}|:[^/]+|<[^/]*>)(?=/|$)")  # as frameworks write it
_IDENTIFIER = re.compile(r"/(?!v\d+(?:/|$))[^/{:<]*[\d@%][^/]*")


def route_of(url: str) -> str:
    """Return the route of a path or URL: `/contacts/{id}` for `https://api.intercom.io/contacts/63a0…?include=tags`."""
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", "", url)
    segments = [segment for segment in re.split(r"[?#]", path, maxsplit=1)[0].split("/") if segment]
    return "/" + "/".join(segment if segment in WORDS else "{id}" for segment in segments)


def tidy_route(route: str) -> str:
    """Return a template that somebody else wrote in our form: `/contacts/{id}` for `/contacts/:contact_id`.

    A segment that holds a digit, '@' or '%' is taken for an identifier that was left in by mistake.
    """
    return _IDENTIFIER.sub("/{id}", _PLACEHOLDER.sub("/{id}", route))


def holds_identifier(route: str) -> bool:
    """Whether what should be a template looks like a raw path."""
    return bool(_IDENTIFIER.search(route))
