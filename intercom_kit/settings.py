"""The configuration: environment variables first, then an optional `.env` file, then defaults."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from intercom_kit.errors import SettingsError

Region = Literal["us", "eu", "au"]
API_HOSTS: dict[Region, str] = {
    "us": "https://api.intercom.io",
    "eu": "https://api.eu.intercom.io",
    "au": "https://api.au.intercom.io",
}
API_VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", *(f"2.{minor}" for minor in range(17)), "Preview")
SECRET_VARIABLES = ("INTERCOM_ACCESS_TOKEN", "INTERCOM_SLACK_WEBHOOK_URL")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _url(value: str) -> str:
    """Accept https anywhere and http on loopback only: a token must not cross a network in the clear."""
    if not value:
        return value
    try:
        parts = urlsplit(value)  # raises ValueError on what is no URL at all, e.g. an unclosed [
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0  # or on no port at all
    except ValueError:
        is_url = False
    if not is_url or not value.isprintable() or " " in value or "\\" in value:
        raise ValueError("it is not a URL. Write it as https://host/path")
    if parts.username or parts.password:
        raise ValueError("it holds a user name or password. Remove it: the token goes in INTERCOM_ACCESS_TOKEN")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("plain http is allowed to loopback only. Use https://")
    return value.rstrip("/")


def _base(value: str) -> str:
    """Refuse what follows a path: the API's and the status page's own paths are put behind this one."""
    if re.search("[?#]", value):
        raise ValueError("it ends in a query or a fragment. Remove what follows ? or #: paths are added to it")
    return _url(value)


def _plain(value: str) -> str:
    """Refuse what would break a line of a command, or a terminal."""
    if not value.isprintable():
        raise ValueError("it holds a line break or a character that cannot be seen. Write it anew")
    return value


def _home(value: Path) -> Path:
    """Read ~ as a shell does: in a `.env` file nobody else does."""
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("there is no such home as its ~ says. Write the whole path") from None


def _version(value: str) -> str:
    if value not in API_VERSIONS:
        raise ValueError(
            f"it is not a version of the API. Use one of {API_VERSIONS[0]} to {API_VERSIONS[-2]}, or Preview"
        )
    return value


def is_plain(token: SecretStr) -> bool:
    """Tell whether a text can be a token: it is not empty, and holds visible ASCII only."""
    text = token.get_secret_value()
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _token(value: SecretStr) -> SecretStr:
    if not is_plain(value):
        raise ValueError("it holds a space, a line break or a character no token has. Copy the bare token again")
    return value


def _webhook(value: SecretStr) -> SecretStr:
    """Hold the webhook to the same rule: whoever has its URL can post."""
    return SecretStr(_url(value.get_secret_value()))


Url = Annotated[str, AfterValidator(_url)]
BaseUrl = Annotated[str, AfterValidator(_base)]
Plain = Annotated[str, AfterValidator(_plain)]
Folder = Annotated[Path, AfterValidator(_home)]


class Settings(BaseSettings):
    """Everything the kit can be told. Secrets never show in a repr, an error or a report."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,  # for keyword arguments; the environment must not fill a field by its bare name:
        env_prefix="=",  # no variable is named so, and somebody's TOKEN or REGION is none of ours
        case_sensitive=True,
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        None, alias="INTERCOM_ACCESS_TOKEN", description="access token, sent to the API host only"
    )
    region: Region = Field("us", alias="INTERCOM_REGION", description="where the workspace is hosted: us, eu, au")
    base_url_override: BaseUrl | None = Field(
        None, alias="INTERCOM_BASE_URL", description="API URL; overrides the region"
    )
    api_version: Annotated[str, AfterValidator(_version)] = Field(
        "2.16", alias="INTERCOM_API_VERSION", description="sent as Intercom-Version"
    )
    status_url: BaseUrl = Field(
        "https://www.finstatus.com", alias="INTERCOM_STATUS_URL", description="base URL of Intercom's status page"
    )
    health_url: Url | None = Field(
        None, alias="INTERCOM_HEALTH_URL", description="your own service's health endpoint (JSON)"
    )
    health_path: Plain = Field(
        "services.intercom.status", alias="INTERCOM_HEALTH_PATH", description="where in that JSON the state stands"
    )
    slack_webhook_url: Annotated[SecretStr, AfterValidator(_webhook)] | None = Field(
        None, alias="INTERCOM_SLACK_WEBHOOK_URL", description="incoming webhook for the internal update"
    )
    secret_id: Plain = Field(
        "intercom/production/token", alias="INTERCOM_SECRET_ID", description="the token's name in your secret manager"
    )
    deployment: Plain = Field(
        "deployment/intercom-service", alias="INTERCOM_DEPLOYMENT", description="what to restart after a rotation"
    )
    outputs: Folder = Field(Path("outputs"), alias="INTERCOM_KIT_OUTPUTS", description="where incidents are archived")
    cache: Path = Field(
        Path("~/.cache/intercom-kit/fallback.sqlite"),  # never beside the archive: it holds what that must not
        alias="INTERCOM_KIT_CACHE",
        description="the fallback's cache: contacts and conversations as the API sent them",
    )
    timeout_s: float = Field(
        5.0, alias="INTERCOM_KIT_TIMEOUT", gt=0, le=120, allow_inf_nan=False, description="seconds per check"
    )
    slow_s: float = Field(
        2.0,
        alias="INTERCOM_KIT_SLOW",
        gt=0,
        le=120,
        allow_inf_nan=False,
        description="seconds above which an answered call is slow",
    )

    @property
    def base_url(self) -> str:
        """The API's URL: the override where there is one, else the region's host."""
        return self.base_url_override or API_HOSTS[self.region]

    def require_token(self) -> str:
        """Return the token in clear for the Authorization header, or raise SettingsError."""
        if self.token is None:
            raise SettingsError(
                "INTERCOM_ACCESS_TOKEN is not set. Export it, or start with: intercom-kit drill healthy"
            )
        return self.token.get_secret_value()

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets that are set, in clear, by variable: to keep them out of what is written."""
        values = {_alias(name): getattr(self, name) for name in type(self).model_fields}
        return {name: value.get_secret_value() for name, value in values.items() if isinstance(value, SecretStr)}

    def environment(self) -> dict[str, str]:
        """Return the environment that gives a child process these settings, without any secret."""
        values = {_alias(name): getattr(self, name) for name in type(self).model_fields}
        return {k: str(v) for k, v in values.items() if v is not None and not isinstance(v, SecretStr)}

    def shown(self) -> list[tuple[str, str, str, str]]:
        """Return (variable, value with secrets masked, where it came from, meaning) for every setting, in order."""
        rows = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            text = "" if value is None else "********" if isinstance(value, SecretStr) else str(value)
            rows.append((_alias(name), text, self._origin(name), field.description or ""))
        return rows

    def _origin(self, name: str) -> str:
        if name not in self.model_fields_set:
            return "default"
        return "environment" if os.environ.get(_alias(name)) else ".env"


def _alias(name: str) -> str:
    field = Settings.model_fields.get(name)
    return (field and field.alias) or name


def load_settings(dotenv: Path | None = Path(".env"), **overrides: object) -> Settings:
    """Read the settings; keyword arguments (field names) win over the environment.

    Raises SettingsError naming the variable and the fix. The value itself is not repeated: it may be a secret.
    """
    try:
        return Settings(_env_file=dotenv, **overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(detail) for detail in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SettingsError(f"{dotenv} cannot be read: {why}. Put it right, or move it away.") from None


def _complaint(detail: Mapping[str, object]) -> str:
    location = detail["loc"]
    name = _alias(str(location[0])) if isinstance(location, tuple) and location else "settings"
    fix = str(detail["msg"]).removeprefix("Value error, ")
    if name == "INTERCOM_REGION":
        fix = f"unknown region. Use one of: {', '.join(get_args(Region))}"
    if name in ("INTERCOM_KIT_TIMEOUT", "INTERCOM_KIT_SLOW"):
        fix = "it is no time in seconds. Write a number above 0, up to 120, such as 5"
    return f"{name} is refused: {fix}."
