"""The error tree; each message names the next step.

KitError                 a setting, a parameter or a name is wrong, a notebook did not run, a message was not sent, …
├── IncidentIdError      an incident id that is not a plain name
├── IncidentError        the incident's folder or record cannot be used
├── EvidenceError        evidence is missing, broken or changed
├── RequestLogError      a request log cannot be read, or is ambiguous
├── InputError           a time, a field or a file that a person gave cannot be understood
├── CacheError           the fallback's cache cannot be used
│   └── CacheBusyError   another process holds it at the moment
├── PublishError         an archive cannot be copied elsewhere
└── SecretError          the secret manager refused, or holds something unexpected
"""


class KitError(Exception):
    """Anything the kit refuses or cannot do; the command line prints the message and exits with status 2."""


class IncidentIdError(KitError):
    """An incident id that is not a plain name."""

    def __init__(self, incident_id: str) -> None:
        super().__init__(
            f"{incident_id[:80]!r} is not an incident id. Use up to 64 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit, such as INC-20261124-0930-rate-limited."
        )


class IncidentError(KitError):
    """The incident's folder or record cannot be used."""


class EvidenceError(KitError):
    """Evidence is missing, broken or changed."""


class RequestLogError(KitError):
    """A request log cannot be read, or is ambiguous."""


class InputError(KitError):
    """A time, a field or a file that a person gave cannot be understood."""


class CacheError(KitError):
    """The fallback's cache cannot be used."""


class CacheBusyError(CacheError):
    """Another process holds the fallback's cache at the moment."""


class PublishError(KitError):
    """An archive cannot be copied elsewhere."""


class SecretError(KitError):
    """The secret manager refused, or holds something unexpected."""
