"""Sending an update, to a server on loopback that behaves like Slack's."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from intercom_kit.errors import KitError
from intercom_kit.incident.slack import NEXT_STEPS, escape, send_update
from intercom_kit.settings import load_settings
from tests.servers import Misbehave, answer

PATH = "/services/T0000/B0000/canary-in-the-url"
TEXT = "[P1] INCIDENT: Intercom Integration"
PLAIN = {"mrkdwn": False, "parse": "none", "link_names": False}  # Slack makes no link or mention of the text
Answer = tuple[int, str, dict[str, str]]
OK: Answer = (200, "ok", {})


@dataclass
class Slack:
    """A webhook, the messages it got, and when."""

    url: SecretStr
    messages: list[dict[str, object]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@pytest.fixture
def slack(misbehave: Misbehave) -> Callable[..., Slack]:
    """Give a starter of webhooks that give these answers one after another, the last one for ever."""

    def start(*answers: Answer) -> Slack:
        left = list(answers)

        def behave(connection: socket.socket, request: bytes) -> None:
            head, _, body = request.partition(b"\r\n\r\n")
            status, word, headers = 404, "no_service", dict[str, str]()
            if head.startswith(f"POST {PATH} ".encode()):
                assert b"application/json" in head
                state.times.append(time.monotonic())
                state.messages.append(json.loads(body))
                status, word, headers = left.pop(0) if len(left) > 1 else left[0]
            answer(word, f"{status} so", **headers)(connection, request)

        state = Slack(SecretStr(misbehave(behave).url + PATH))
        return state

    return start


def test_an_update_arrives_once(slack: Callable[..., Slack]) -> None:
    """Slack says ok: the message came once, with its blocks and an escaped text to fall back on."""
    channel = slack(OK)
    block: dict[str, object] = {"type": "section", "text": {"type": "mrkdwn", "text": "*Status:* INVESTIGATING"}}
    send_update(channel.url, "a < b & <!channel>", [block])
    assert channel.messages == [PLAIN | {"text": "a &lt; b &amp; &lt;!channel&gt;", "blocks": [block]}]


def test_an_update_can_be_sent_from_a_notebook(slack: Callable[..., Slack]) -> None:
    """A running event loop, as a notebook's kernel has, is no hindrance."""
    channel = slack(OK)

    async def cell() -> None:
        send_update(channel.url, TEXT)

    asyncio.run(cell())
    assert channel.messages == [PLAIN | {"text": TEXT}]


def test_a_limit_is_waited_for(slack: Callable[..., Slack]) -> None:
    """Slack answers 429 with Retry-After: the next attempt comes after it, not before."""
    channel = slack((429, "rate_limited", {"Retry-After": "1"}), OK)
    send_update(channel.url, TEXT)
    first, second = channel.times
    assert 1.0 <= second - first < 5.0


def test_a_limit_longer_than_our_patience_is_reported(slack: Callable[..., Slack]) -> None:
    """Slack asks for ten minutes: that is reported at once, instead of a silent wait."""
    channel = slack((429, "rate_limited", {"Retry-After": "600"}), OK)
    with pytest.raises(KitError, match="429 rate_limited; it asks to wait 600 s"):
        send_update(channel.url, TEXT)
    assert len(channel.messages) == 1


def test_a_failing_slack_is_given_up_on(slack: Callable[..., Slack]) -> None:
    """Slack fails every time, or names no number of seconds: five attempts, then its word and where to look."""
    channel = slack((429, "rate_limited", {"Retry-After": "soon"}), (500, "rollup_error", {}))
    with pytest.raises(KitError, match=r"500 rollup_error.*slack-status"):
        send_update(channel.url, TEXT)
    assert len(channel.messages) == 5


@pytest.mark.parametrize("word", [*NEXT_STEPS, "some_new_word"])
def test_a_refusal_is_reported_with_its_next_step(slack: Callable[..., Slack], word: str) -> None:
    """Slack's word and what to do are shown, after one attempt, and the webhook's URL is not."""
    channel = slack((403, word, {}))
    with pytest.raises(KitError) as raised:
        send_update(channel.url, TEXT)
    assert f"403 {word}: {NEXT_STEPS.get(word, 'check the webhook')}" in str(raised.value)
    assert len(channel.messages) == 1


@pytest.mark.parametrize(
    ("strange", "message"),
    [
        ((404, "no_service", {}), "404 no_service: the webhook was removed"),
        ((404, "<html>not a word</html>", {}), "Slack answered 404: check the webhook"),
        ((302, "", {"Location": "http://127.0.0.1:1/elsewhere"}), "redirects"),
        ((200, "x" * 3_000_000, {}), "did not confirm"),
        ((200, "<html>a proxy's page</html>", {}), "no webhook of Slack's"),
    ],
)
def test_a_strange_answer_is_reported_without_the_url(
    slack: Callable[..., Slack], strange: Answer, message: str
) -> None:
    """A page, a redirect, an endless answer and a removed webhook are reported as what they are, without the URL."""
    with pytest.raises(KitError, match=message) as raised:
        send_update(slack(strange).url, TEXT)
    assert "canary" not in _whole_story(raised.value)


def test_no_connection_is_tried_again_and_reported_without_the_url(slack: Callable[..., Slack]) -> None:
    """Nothing listens: several attempts, then the network is named, and the URL is not."""
    url = slack(OK).url.get_secret_value().replace(PATH, "")
    closed = SecretStr(url.rpartition(":")[0] + ":1" + PATH)
    started = time.monotonic()
    with pytest.raises(KitError, match=r"no connection to 127\.0\.0\.1") as raised:
        send_update(closed, TEXT)
    assert time.monotonic() - started > 0.5
    assert "canary" not in _whole_story(raised.value)


def test_a_broken_off_answer_is_not_sent_twice(misbehave: Misbehave) -> None:
    """The connection ends after the message was sent: it may have arrived, so it is not sent again."""
    server = misbehave(lambda connection, _: connection.close())
    with pytest.raises(KitError, match="may have arrived"):
        send_update(SecretStr(f"{server.url}{PATH}"), TEXT)
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["http://hooks.slack.example/services/canary", "hooks.slack.com/services/canary"])
def test_a_webhook_in_the_clear_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The setting holds to https, and its complaint does not repeat it."""
    monkeypatch.setenv("INTERCOM_SLACK_WEBHOOK_URL", url)
    with pytest.raises(KitError, match="INTERCOM_SLACK_WEBHOOK_URL is refused") as raised:
        load_settings(dotenv=None)
    assert "canary" not in str(raised.value)


@given(st.text(alphabet="<>&!@#abcé \n", max_size=60), st.integers(8, 80))
def test_escaped_text_is_shown_as_it_is(text: str, limit: int) -> None:
    """No mention or link is left, nothing is longer than allowed, and cutting leaves whole entities."""
    escaped = escape(text, limit)
    assert len(escaped) <= limit
    assert not set("<>") & set(escaped)
    shown = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown == text or text.startswith(shown.removesuffix("…"))


def _whole_story(error: BaseException | None) -> str:
    """Return what a traceback would show of an error and its causes."""
    return f"{error!r} {_whole_story(error.__cause__ or error.__context__)}" if error else ""
