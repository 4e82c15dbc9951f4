"""Sends an update to a Slack channel through an incoming webhook.

Who has the webhook's URL can post: it is in no message, error or log. Slack answers 200 `ok`, or a status with one word
that says what is wrong (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
"""

import asyncio
import json
import random
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import SecretStr

from intercom_kit.collect.http import Answer, ask
from intercom_kit.collect.network import in_background
from intercom_kit.errors import KitError

if TYPE_CHECKING:
    from tenacity import RetryCallState

ATTEMPTS = 5
ATTEMPT_S = 10.0  # seconds for one attempt
PATIENCE_S = 60.0  # seconds for all of them; a longer Retry-After is reported, not waited for
TEXT_LIMIT = 3000  # characters of a section's text, and enough for a notification

_UNREADABLE = "Slack could not read the message. Post it by hand, and report this as a bug of intercom-kit"
_WRONG_URL = "the webhook's URL is not valid. Copy it again to INTERCOM_SLACK_WEBHOOK_URL"
NEXT_STEPS: dict[str, str] = {
    "invalid_payload": _UNREADABLE,
    "invalid_blocks": _UNREADABLE,
    "no_text": "the message was empty",
    "no_service": "the webhook was removed or disabled. Make a new one and set INTERCOM_SLACK_WEBHOOK_URL",
    "no_service_id": _WRONG_URL,
    "no_team": _WRONG_URL,
    "invalid_token": _WRONG_URL,
    "team_disabled": "the Slack workspace is disabled. Ask its owner",
    "channel_not_found": "the webhook's channel is gone. Make a webhook for another channel",
    "channel_is_archived": "the webhook's channel is archived. Unarchive it, or make a webhook for another channel",
    "user_not_found": "the person the webhook writes to is gone. Make a webhook for a channel",
    "action_prohibited": "an admin of the Slack workspace forbids it. Ask them",
    "posting_to_general_channel_denied": "the webhook may not post to #general. Make a webhook for another channel",
}
UNSENT = ("dns", "connect", "tls")  # nothing had been sent when these happened: trying again cannot post twice


def escape(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return text as Slack shows it, and nothing else: no mention, link or channel; at most `limit` characters."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= limit:
        return escaped
    return re.sub(r"&[a-z]*$", "", escaped[: limit - 1]) + "…"


def slack_blocks(update: str) -> list[dict[str, object]]:
    """Return an internal update as Slack's Block Kit: a header, and its fields with their names in bold, escaped.

    Its text is `verbatim`, so that Slack makes no link, channel or mention of it.
    """
    head, *lines = update.splitlines()
    fields = [line.partition(": ") for line in lines]
    body = "\n".join(f"*{escape(name, 40)}:* {escape(value, 450)}" for name, _, value in fields)
    return [
        {"type": "header", "text": {"type": "plain_text", "text": escape(head, 150), "emoji": False}},
        {"type": "section", "text": {"type": "mrkdwn", "text": body, "verbatim": True}},
    ]


def send_update(webhook_url: SecretStr, text: str, blocks: Sequence[dict[str, object]] = ()) -> None:
    """Post an update; `text` is the fallback for notifications, escaped here; `blocks` come escaped.

    Retries when Slack limits or fails, and when no connection was made, within a minute; Retry-After is honoured.
    Raises KitError naming what Slack said and the next step.
    """
    plain = {"text": escape(text), "mrkdwn": False, "parse": "none", "link_names": False}
    message = json.dumps(plain | ({"blocks": list(blocks)} if blocks else {}))
    in_background(lambda: _post(webhook_url, message.encode())).result()


async def _post(webhook_url: SecretStr, message: bytes) -> None:
    import tenacity  # where no message is sent, nothing waits for it

    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(_TryAgainError),
        wait=_wait_s,
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(PATIENCE_S),
        reraise=True,
    ):
        with attempt:
            answer = await ask(
                "POST",
                webhook_url.get_secret_value(),
                deadline=asyncio.get_running_loop().time() + ATTEMPT_S,
                headers={"Content-Type": "application/json; charset=utf-8"},
                content=message,
            )
            _accept(answer)


class _TryAgainError(KitError):
    """Worth another attempt; after_s: how long Slack asks to wait, None when it did not say."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


def _wait_s(state: "RetryCallState") -> float:
    """Return what Slack asks for, else a doubling wait with a random part, in seconds."""
    error = state.outcome.exception() if state.outcome else None
    after_s = error.after_s if isinstance(error, _TryAgainError) else None
    jitter = random.random()  # noqa: S311  # it spreads calls, and keeps no secret
    return after_s if after_s is not None else min(0.1 * 2 ** (state.attempt_number - 1), 5.0) + jitter


def _accept(answer: Answer) -> None:
    """Return when Slack took the message; raise KitError, or _TryAgainError where that may help."""
    if answer.status is None or answer.error_type:
        raise _unanswered(answer)
    body = answer.body[:200].decode(errors="replace").strip()
    word = body if re.fullmatch(r"[a-z][a-z_]{1,60}", body) else ""
    if answer.status == 200:
        if word != "ok":
            why = "what answered is no webhook of Slack's. Check INTERCOM_SLACK_WEBHOOK_URL."
            raise KitError(f"The update did not arrive: {why}")
        return
    said = f"Slack answered {answer.status}{f' {word}' if word else ''}"
    if answer.status == 429:
        asked = answer.headers.get("retry-after", "").strip()
        after_s = float(asked) if re.fullmatch(r"[0-9]{1,6}", asked) else None
        wait = f"; it asks to wait {after_s:g} s" if after_s is not None else ""
        raise _TryAgainError(f"The update was not sent: {said}{wait}. Send it again after that.", after_s)
    if answer.status >= 500:
        raise _TryAgainError(f"The update was not sent: {said}. Look at https://slack-status.com, or post it by hand.")
    step = NEXT_STEPS.get(word, "check the webhook's settings in Slack, or post the update by hand")
    raise KitError(f"The update was not sent: {said}: {step}.")


def _unanswered(answer: Answer) -> KitError:
    if answer.error_type in UNSENT:
        return _TryAgainError(f"The update was not sent: {answer.detail}. Check the network and the webhook's host.")
    if answer.error_type == "redirect":
        return KitError("The update was not sent: the webhook redirects. Copy its URL again from Slack.")
    doubt = "It may have arrived: look at the channel before you send it again."
    return KitError(f"Slack did not confirm the update: {answer.detail}. {doubt}")
