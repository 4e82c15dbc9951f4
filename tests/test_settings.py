"""The settings: where they come from, what is refused, and that secrets stay secret."""

import os
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.errors import KitError
from intercom_kit.protocol import LOOPBACK
from intercom_kit.settings import Settings, load_settings

noise = st.text(max_size=12)
TOKEN = "tok-" + "canary-0a1B2c3D"  # plainly fake
HOOK = "https://hooks.example.test/services/" + "canary"


def test_the_defaults_need_no_environment() -> None:
    """With nothing set there is no token, the US host and the documented defaults."""
    settings = load_settings(None)
    assert settings.token is None
    assert settings.base_url == "https://api.intercom.io"
    assert (settings.api_version, settings.timeout_s, settings.slow_s) == ("2.16", 5, 2)
    assert settings.status_url == "https://www.finstatus.com"
    assert (settings.health_url, settings.health_path) == (None, "services.intercom.status")


@pytest.mark.parametrize("region", ["us", "eu", "au"])
def test_the_region_chooses_the_host_and_the_base_url_overrides_it(
    region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INTERCOM_REGION gives the host unless INTERCOM_BASE_URL does."""
    monkeypatch.setenv("INTERCOM_REGION", region)
    host = "api.intercom.io" if region == "us" else f"api.{region}.intercom.io"
    assert load_settings(None).base_url == f"https://{host}"
    monkeypatch.setenv(f"INTERCOM_{region.upper()}_URL", "https://api.renamed.example/")
    assert load_settings(None).base_url == load_settings(None).api_hosts[region] == "https://api.renamed.example"  # type: ignore[index]
    monkeypatch.setenv("INTERCOM_BASE_URL", "http://127.0.0.1:8080/")
    assert load_settings(None).base_url == "http://127.0.0.1:8080"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .env file fills what the environment leaves open, and both are named as origins."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"INTERCOM_ACCESS_TOKEN={TOKEN}\nINTERCOM_REGION=eu\nUNRELATED=1\n")
    monkeypatch.setenv("INTERCOM_REGION", "au")
    settings = load_settings(dotenv)
    assert settings.region == "au"
    assert settings.require_token() == TOKEN
    shown = {name: (value, origin) for name, value, origin, _ in settings.shown()}
    assert shown["INTERCOM_REGION"] == ("au", "environment")
    assert shown["INTERCOM_ACCESS_TOKEN"] == ("********", ".env")
    assert shown["INTERCOM_API_VERSION"] == ("2.16", "default")


def test_only_the_documented_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that happens to be called TOKEN or REGION, here or in the file, is not ours."""
    before = load_settings(None)
    for name in Settings.model_fields:
        monkeypatch.setenv(name, "mars")
        monkeypatch.setenv(name.upper(), "mars")
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "\n".join(f"{name}=mars\n{name.upper()}=mars\nintercom_{name}=mars" for name in Settings.model_fields)
    )
    assert load_settings(dotenv) == load_settings(None) == before


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A .env file of another encoding is refused by its name."""
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"\xff\xfeINTERCOM_REGION=eu\n")
    with pytest.raises(KitError, match=r"\.env cannot be read: .*Put it right, or move it away"):
        load_settings(dotenv)


@pytest.mark.parametrize(
    ("kind", "says"),
    [("pipe", "it is not an ordinary file"), ("large", "it is larger than 64 KB"), ("folder", "")],
)
def test_a_file_that_is_no_dotenv_holds_nobody_up(kind: str, says: str, tmp_path: Path) -> None:
    """A named pipe or a huge file is refused at once, and a virtual environment called .env is none of ours."""
    path = tmp_path / ".env"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as large:
            large.truncate(1 << 30)
    if says:
        with pytest.raises(KitError, match=says):
            load_settings(path)
    else:
        assert load_settings(path) == load_settings(None)


def test_nothing_is_interpolated_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference to the token in the status page's URL does not send the token there."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", TOKEN)
    dotenv = tmp_path / ".env"
    dotenv.write_text("INTERCOM_STATUS_URL=https://evil.example/${INTERCOM_ACCESS_TOKEN}\nINTERCOM_HEALTH_PATH=$HOME\n")
    settings = load_settings(dotenv)
    assert settings.status_url == "https://evil.example/${INTERCOM_ACCESS_TOKEN}"
    assert settings.health_path == "$HOME"


@pytest.mark.parametrize("name", ["INTERCOM_BASE_URL", "INTERCOM_US_URL", "INTERCOM_EU_URL"])
def test_a_file_does_not_send_the_environments_token_to_its_own_host(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token of the environment goes where the environment says, to the vendor, or nowhere; the reason is given."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{name}=https://evil.example\n")
    assert load_settings(dotenv).token is None
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", TOKEN)
    with pytest.raises(KitError, match=rf"{name} is refused: .*the token comes from the environment"):
        load_settings(dotenv)
    monkeypatch.setenv(name, "https://proxy.example")
    assert "evil" not in str(load_settings(dotenv).environment())
    monkeypatch.delenv(name)
    dotenv.write_text(f"{name}=https://api.eu.intercom.io\n")
    assert load_settings(dotenv).token
    dotenv.write_text(f"{name}=https://proxy.example\nINTERCOM_ACCESS_TOKEN={TOKEN}\n")
    monkeypatch.delenv("INTERCOM_ACCESS_TOKEN")
    assert load_settings(dotenv).token


@pytest.mark.parametrize(("version", "warned"), [("2.16", 0), ("Preview", 0), ("Unstable", 0), ("2.17", 1), ("3.0", 1)])
def test_an_unknown_version_is_a_warning(version: str, warned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is newer than the kit keeps nobody from a triage."""
    monkeypatch.setenv("INTERCOM_API_VERSION", version)
    settings = load_settings(None)
    assert settings.api_version == version
    assert [version in warning for warning in settings.warnings()] == [True] * warned


def test_the_status_pages_other_addresses_belong_to_it() -> None:
    """Another page has no aliases unless they are given too."""
    assert load_settings(None).status_pages[1:] == ("https://status.intercom.com", "https://www.intercomstatus.com")
    assert load_settings(None, status_url="https://a.example").status_pages == ("https://a.example",)
    both = load_settings(None, status_url="https://a.example", status_aliases="https://b.example/, https://c.example")
    assert both.status_pages == ("https://a.example", "https://b.example", "https://c.example")


def test_a_home_is_found_in_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ in INTERCOM_KIT_OUTPUTS is the user's home, not a folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("INTERCOM_KIT_OUTPUTS")
    dotenv = tmp_path / ".env"
    dotenv.write_text("INTERCOM_KIT_OUTPUTS=~/incidents\n")
    assert load_settings(dotenv).outputs == tmp_path / "incidents"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`export INTERCOM_REGION=` is the default, not an error."""
    monkeypatch.setenv("INTERCOM_REGION", "")
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", "")
    settings = load_settings(None)
    assert (settings.region, settings.token) == ("us", None)
    with pytest.raises(KitError, match=r"INTERCOM_ACCESS_TOKEN is not set\. Export it, or start with"):
        settings.require_token()


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("INTERCOM_REGION", "mars", "Use one of: us, eu, au"),
        ("INTERCOM_BASE_URL", "http://api.intercom.io", "Use https://"),
        ("INTERCOM_BASE_URL", "api.intercom.io", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", "https://[::1", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", "https://host:99999", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", "https://host:0x50", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", "https://ho st/", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", "https://host/\x1b[2J", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", "https://host\\@evil.test", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", "https://host/?a=1", "Remove what follows ? or #"),
        ("INTERCOM_STATUS_URL", "https://host/#a", "Remove what follows ? or #"),
        ("INTERCOM_BASE_URL", "ftp://host/", "Write it as https://host/path"),
        ("INTERCOM_BASE_URL", f"https://{TOKEN}:x@host/", "INTERCOM_ACCESS_TOKEN"),
        ("INTERCOM_STATUS_URL", "http://status.intercom.com", "Use https://"),
        ("INTERCOM_HEALTH_URL", "http://10.0.0.1/health", "Use https://"),
        ("INTERCOM_API_VERSION", "2.16\r\nX-Evil: 1", "Write it as 2.16 or Preview"),
        ("INTERCOM_STATUS_ALIASES", "https://a.example http://b.example", "Use https://"),
        ("INTERCOM_EU_URL", "http://api.eu.intercom.io", "Use https://"),
        ("INTERCOM_ACCESS_TOKEN", f"Bearer {TOKEN}", "Copy the bare token again"),
        ("INTERCOM_ACCESS_TOKEN", f"{TOKEN}\r\nX-Evil: 1", "Copy the bare token again"),
        ("INTERCOM_ACCESS_TOKEN", f"{TOKEN}\u201d", "Copy the bare token again"),
        ("INTERCOM_SLACK_WEBHOOK_URL", f"http://hooks.example.test/{TOKEN}", "Use https://"),
        ("INTERCOM_HEALTH_PATH", "a\tb", "Write it again"),
        ("INTERCOM_SECRET_ID", "a\nb", "Write it again"),
        ("INTERCOM_DEPLOYMENT", "a\x1b[2J", "Write it again"),
        ("INTERCOM_KIT_OUTPUTS", "~nobody-has-this-name/x", "Use an absolute path"),
        ("INTERCOM_KIT_TIMEOUT", "0", "Write a number above 0, up to 120, such as 5"),
        ("INTERCOM_KIT_TIMEOUT", "nan", "Write a number above 0, up to 120, such as 5"),
        ("INTERCOM_KIT_TIMEOUT", "soon", "Write a number above 0, up to 120, such as 5"),
        ("INTERCOM_KIT_SLOW", "1e9", "Write a number above 0, up to 120, such as 5"),
    ],
)
def test_a_wrong_value_is_refused_by_name_with_the_fix(
    name: str, value: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable and what to do, and does not repeat the value, which may be a secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(KitError) as caught:
        load_settings(None)
    message = "".join(traceback.format_exception(caught.value))
    assert f"{name} is refused" in message
    assert fix in message
    assert TOKEN not in message


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        *((url, True) for url in ("http://127.0.0.1:1", "http://[::1]:80", "http://localhost/x", "https://a.example")),
        *((f"http://{host}", False) for host in ("127.0.0.1.evil.test", "127.0.0.1@evil.test", "evil.test#@127.0.0.1")),
    ],
)
def test_https_anywhere_and_http_on_loopback(url: str, is_good: bool) -> None:
    """A token never crosses a network in the clear, however the host is spelled, and a drill needs no certificate."""
    if is_good:
        assert load_settings(None, base_url_override=url).base_url == url
    else:
        with pytest.raises(KitError):
            load_settings(None, base_url_override=url)


def test_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the token nor the webhook is in a repr, in what is shown, in JSON or in a child's environment."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("INTERCOM_SLACK_WEBHOOK_URL", HOOK)
    settings = load_settings(None)
    seen = f"{settings!r} {settings} {settings.shown()} {settings.model_dump_json()} {settings.environment()}"
    assert "canary" not in seen
    assert settings.require_token() == TOKEN


def test_all_secrets_are_known_to_be_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token, webhook, AWS keys and passwords of proxies are given in clear, and only what is set."""
    assert load_settings(None).secrets() == ()
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("INTERCOM_SLACK_WEBHOOK_URL", HOOK)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pass%20canary@proxy.example:3128")
    assert load_settings(None).secrets() == (TOKEN, "services/canary", "aws-canary", "pass canary")
    assert load_settings(None).environment(with_secrets=True)["INTERCOM_SLACK_WEBHOOK_URL"] == HOOK


def test_a_child_process_gets_the_same_settings_without_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment for a child names every setting but the secrets, and gives the same settings again."""
    settings = load_settings(None, token=TOKEN, region="eu", timeout_s=3.5, health_url="https://h.example.test/x")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings(None, token=TOKEN) == settings


@given(st.builds("{}{}{}".format, st.sampled_from(["", "https://", "http://", "http://127.0.0.1", "//"]), noise, noise))
def test_any_url_is_accepted_safe_or_refused(text: str) -> None:
    """Whatever is given for a URL is either refused as such, or is https or loopback."""
    try:
        accepted, refusal = load_settings(None, base_url_override=text).base_url, ""
    except KitError as error:
        accepted, refusal = "", str(error)
    if accepted:
        assert urlsplit(accepted).scheme == "https" or urlsplit(accepted).hostname in LOOPBACK
    else:
        assert "INTERCOM_BASE_URL is refused" in refusal
