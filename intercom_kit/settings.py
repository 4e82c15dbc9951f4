"""The configuration: environment variables first, then an optional `.env` file, then defaults."""

import io
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from intercom_kit.errors import KitError
from intercom_kit.protocol import LOOPBACK
from intercom_kit.redaction import Redactor

Region = Literal["us", "eu", "au"]
API_VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", *(f"2.{minor}" for minor in range(17)), "Preview", "Unstable")
SECRET_VARIABLES = ("INTERCOM_ACCESS_TOKEN", "INTERCOM_SLACK_WEBHOOK_URL")
OTHER_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
DOTENV_LIMIT = 64 * 1024  # bytes


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
        raise ValueError("it holds a line break or a character that cannot be seen. Write it again without it")
    return value


def _home(value: Path) -> Path:
    """Read ~ as a shell does: in a `.env` file nobody else does."""
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("its ~ names an unknown home directory. Use an absolute path") from None


def _version(value: str) -> str:
    """Accept whatever may be a version: new ones come, and an unknown one is no reason not to triage."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", value):
        raise ValueError("it is not a version of the API. Write it as 2.16 or Preview")
    return value


def _bases(value: str) -> str:
    return " ".join(_base(one) for one in re.split(r"[\s,]+", value) if one)


def is_plain(token: SecretStr) -> bool:
    """Tell whether a text can be a token: it is not empty, and holds visible ASCII only."""
    text = token.get_secret_value()
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _token(value: SecretStr) -> SecretStr:
    if not is_plain(value):
        raise ValueError("it holds a space, a line break or a character no token has. Copy the bare token again")
    return value


def _webhook(value: SecretStr) -> SecretStr:
    """Hold the webhook to the same rule: anybody who has its URL can post."""
    return SecretStr(_url(value.get_secret_value()))


def _outputs() -> Path:
    """Return outputs in the project's root, which is the folder with `notebooks/`: kernels run in that one.

    Without one above the working directory, that is the root.
    """
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "notebooks/01-triage.ipynb").is_file()), here)
    return Path("outputs") if root == here else root / "outputs"


Url = Annotated[str, AfterValidator(_url)]
BaseUrl = Annotated[str, AfterValidator(_base)]
Plain = Annotated[str, AfterValidator(_plain)]
Folder = Annotated[Path, AfterValidator(_home)]
Seconds = Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)]


class Settings(BaseModel):
    """Everything that can be configured. Secrets never show in a repr, an error or a report.

    The vendor's addresses (API hosts of the three regions, status page) are here and nowhere else.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        None, alias="INTERCOM_ACCESS_TOKEN", description="access token, sent to the API host only"
    )
    region: Region = Field("us", alias="INTERCOM_REGION", description="where the workspace is hosted: us, eu, au")
    base_url_override: BaseUrl | None = Field(
        None, alias="INTERCOM_BASE_URL", description="API URL; overrides the region's host"
    )
    us_url: BaseUrl = Field("https://api.intercom.io", alias="INTERCOM_US_URL", description="API host, region us")
    eu_url: BaseUrl = Field("https://api.eu.intercom.io", alias="INTERCOM_EU_URL", description="API host, region eu")
    au_url: BaseUrl = Field("https://api.au.intercom.io", alias="INTERCOM_AU_URL", description="API host, region au")
    api_version: Annotated[str, AfterValidator(_version)] = Field(
        "2.16", alias="INTERCOM_API_VERSION", description="sent as Intercom-Version"
    )
    status_url: BaseUrl = Field(
        "https://www.finstatus.com", alias="INTERCOM_STATUS_URL", description="base URL of Intercom's status page"
    )
    status_aliases: Annotated[str, AfterValidator(_bases)] = Field(
        "https://status.intercom.com https://www.intercomstatus.com",
        alias="INTERCOM_STATUS_ALIASES",
        description="other addresses that redirect to the status page; tried when it gives no answer",
    )
    health_url: Url | None = Field(
        None, alias="INTERCOM_HEALTH_URL", description="your own service's health endpoint (JSON)"
    )
    health_path: Plain = Field(
        "services.intercom.status", alias="INTERCOM_HEALTH_PATH", description="where in that JSON the state is"
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
    user_facing: Plain = Field(
        "",
        alias="INTERCOM_USER_FACING",
        description="apps and routes whose failed calls users notice: web, /conversations",
    )
    outputs: Folder = Field(
        default_factory=_outputs, alias="INTERCOM_KIT_OUTPUTS", description="where incidents are archived"
    )
    cache: Path = Field(
        Path("~/.cache/intercom-kit/fallback.sqlite"),  # never beside the archive: it holds what that must not
        alias="INTERCOM_KIT_CACHE",
        description="the fallback's cache: contacts and conversations as the API sent them",
    )
    timeout_s: Seconds = Field(5.0, alias="INTERCOM_KIT_TIMEOUT", description="seconds per check")
    slow_s: Seconds = Field(2.0, alias="INTERCOM_KIT_SLOW", description="seconds above which an answered call is slow")

    @property
    def api_hosts(self) -> dict[Region, str]:
        """The API's URL of each region."""
        return {"us": self.us_url, "eu": self.eu_url, "au": self.au_url}

    @property
    def base_url(self) -> str:
        """The API's URL: the override where there is one, else the region's host."""
        return self.base_url_override or self.api_hosts[self.region]

    @property
    def is_loopback(self) -> bool:
        """Whether the API is on this machine: a drill's, and not the real one."""
        return urlsplit(self.base_url).hostname in LOOPBACK

    @property
    def status_pages(self) -> tuple[str, ...]:
        """The status page's URL, then its other addresses, unless another page is set without any."""
        other_page = "status_url" in self.model_fields_set and "status_aliases" not in self.model_fields_set
        return (self.status_url, *([] if other_page else self.status_aliases.split()))

    def warnings(self) -> tuple[str, ...]:
        """Return what looks wrong in the settings but keeps nothing from working."""
        if self.api_version in API_VERSIONS:
            return ()
        known = f"{API_VERSIONS[0]} to {API_VERSIONS[-3]}, Preview"
        return (f"INTERCOM_API_VERSION {self.api_version} is none that this kit knows ({known}). It is sent as it is.",)

    def require_token(self) -> str:
        """Return the token in clear for the Authorization header, or raise KitError."""
        if self.token is None:
            raise KitError("INTERCOM_ACCESS_TOKEN is not set. Export it, or start with: intercom-kit drill healthy")
        return self.token.get_secret_value()

    def secrets(self) -> tuple[str, ...]:
        """Return every secret that these settings and the environment hold, in clear: to keep them out of all texts.

        The token, the path of the Slack webhook, AWS keys, and passwords of proxies.
        """
        path = urlsplit(self.slack_webhook_url.get_secret_value()).path if self.slack_webhook_url else ""
        own = [self.token.get_secret_value() if self.token else "", path.strip("/")]
        others = [value for name, value in os.environ.items() if name in OTHER_SECRETS]
        proxies = [value for name, value in os.environ.items() if name.lower().endswith("_proxy") and "@" in value]
        others += [unquote(url.rpartition("@")[0].rpartition("/")[2].partition(":")[2]) for url in proxies]
        own += [secret for secret in others if len(secret) >= 8]  # a short one would blot out plain words
        return tuple(dict.fromkeys(secret for secret in own if secret))

    @property
    def redactor(self) -> Redactor:
        """What takes every secret of these settings and the environment out of a text."""
        return Redactor(*self.secrets())

    def environment(self, *, with_secrets: bool = False) -> dict[str, str]:
        """Return the environment that gives a child process these settings, without any secret unless with_secrets."""
        values = {_alias(name): getattr(self, name) for name in type(self).model_fields}
        clear = {k: v.get_secret_value() for k, v in values.items() if isinstance(v, SecretStr) and with_secrets}
        return {k: str(v) for k, v in values.items() if v is not None and not isinstance(v, SecretStr)} | clear

    def shown(self) -> list[tuple[str, str, str, str]]:
        """Return (variable, value with secrets masked, where it came from, meaning) for every setting, in order."""
        rows = []
        for name, field in type(self).model_fields.items():
            value, origin = getattr(self, name), "environment" if os.environ.get(_alias(name)) else ".env"
            text = "" if value is None else "********" if isinstance(value, SecretStr) else str(value)
            origin = origin if name in self.model_fields_set else "default"
            rows.append((_alias(name), text, origin, field.description or ""))
        return rows


def _alias(name: str) -> str:
    field = Settings.model_fields.get(name)
    return (field and field.alias) or name


def load_settings(dotenv: Path | None = Path(".env"), **overrides: object) -> Settings:
    """Read the settings; keyword arguments (field names) win over the environment.

    Raises KitError naming the variable and the fix. The value itself is not repeated: it may be a secret. Refused
    too is a file that sends the environment's token to an address of its own.
    """
    by_file, names = _read_dotenv(dotenv), {_alias(name): name for name in Settings.model_fields}
    by_environment = {alias: value for alias in names if (value := os.environ.get(alias))}
    _refuse_foreign_host(by_file, by_environment, dotenv)
    given = {names[alias]: value for alias, value in (by_file | by_environment).items() if alias in names}
    try:
        return Settings.model_validate(given | {names.get(name, name): value for name, value in overrides.items()})
    except ValidationError as error:
        raise KitError("\n".join(_complaint(detail) for detail in error.errors())) from None


def _read_dotenv(path: Path | None) -> dict[str, str]:
    """Return a file's variables as they are written: `${NAME}` in one is not replaced, as it may name a secret."""
    try:
        if path is None or stat.S_ISDIR(mode := path.stat().st_mode):  # a virtual environment may be called .env
            return {}
        if not stat.S_ISREG(mode) or path.stat().st_size > DOTENV_LIMIT:
            why = f"it is larger than {DOTENV_LIMIT >> 10} KB" if stat.S_ISREG(mode) else "it is not an ordinary file"
            raise KitError(f"{path} is not read: {why}. Put it right, or move it away.")
        text = path.read_bytes()[:DOTENV_LIMIT].decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "") if isinstance(error, OSError) else "it is no UTF-8 text"
        raise KitError(f"{path} cannot be read: {why}. Put it right, or move it away.") from None
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items() if value}


def _refuse_foreign_host(by_file: Mapping[str, str], by_environment: Mapping[str, str], path: Path | None) -> None:
    """Raise KitError where the author of the file would get a token that is not in it."""
    addresses = {"INTERCOM_BASE_URL", *(f"INTERCOM_{region.upper()}_URL" for region in get_args(Region))}
    official = {Settings.model_fields[f"{region}_url"].default for region in get_args(Region)}
    for name in sorted(addresses & by_file.keys() - by_environment.keys()):
        if "INTERCOM_ACCESS_TOKEN" in by_environment and by_file[name].rstrip("/") not in official:
            raise KitError(
                f"{name} is refused: {path} says where the API is, but the token comes from the environment, and would "
                f"be sent there. Export {name} too if it is right, or write the token into the same file."
            )


def _complaint(detail: Mapping[str, object]) -> str:
    location = detail["loc"]
    name = _alias(str(location[0])) if isinstance(location, tuple) and location else "settings"
    fix = str(detail["msg"]).removeprefix("Value error, ")
    if name == "INTERCOM_REGION":
        fix = f"unknown region. Use one of: {', '.join(get_args(Region))}"
    if name in ("INTERCOM_KIT_TIMEOUT", "INTERCOM_KIT_SLOW"):
        fix = "it is not a time in seconds. Write a number above 0, up to 120, such as 5"
    return f"{name} is refused: {fix}."
