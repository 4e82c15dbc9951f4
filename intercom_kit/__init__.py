"""intercom-kit: the incident notebook kit for teams whose product depends on the Intercom API."""

__version__ = "0.1.0"
