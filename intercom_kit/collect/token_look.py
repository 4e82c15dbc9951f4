"""What the API tells of a token: whose it is, and which of the documented reads it may do."""

import asyncio
import secrets
from dataclasses import dataclass

from pydantic import SecretStr

from intercom_kit.collect.apart import start_apart
from intercom_kit.collect.api import SEARCH, ask_api, error_of
from intercom_kit.collect.checks import Round, check_api, parsed
from intercom_kit.collect.redact import Redactor
from intercom_kit.records import CheckRecord
from intercom_kit.settings import Settings

# The reads that the specification documents; each asks for one row, of which nothing is kept.
PROBES: tuple[tuple[str, str, str, dict[str, object] | None], ...] = (
    ("search contacts", "POST", "/contacts/search", SEARCH),
    ("list conversations", "GET", "/conversations?per_page=1", None),
    ("search conversations", "POST", "/conversations/search", SEARCH),
)


@dataclass(frozen=True)
class Look:
    """What the API tells of a token.

    me: GET /me; allowed, refused, untold: the reads of PROBES by what came of them, none where the token is nobody's.
    """

    me: CheckRecord
    allowed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the token is an admin's."""
        return self.me.outcome == "ok"


def look_at(settings: Settings, *tokens: SecretStr) -> tuple[Look, ...]:
    """Ask about several tokens at once; within twice the time of a check."""

    async def looks() -> tuple[Look, ...]:
        return tuple(await asyncio.gather(*(_look(settings, token) for token in tokens)))

    return start_apart(looks).result()


async def _look(settings: Settings, token: SecretStr) -> Look:
    """Ask who a token is and, if it is anybody, what it may read."""
    this = Round(
        settings.model_copy(update={"token": token}),
        Redactor(token),
        f"token-{secrets.token_hex(3)}",
        asyncio.get_running_loop().time() + 2 * settings.timeout_s,
    )
    me = await check_api(this)
    if me.outcome != "ok":
        return Look(me)
    told = await asyncio.gather(*(_probe(this, *probe[1:]) for probe in PROBES))
    by_answer = {word: tuple(p[0] for p, t in zip(PROBES, told, strict=True) if t == word) for word in set(told)}
    return Look(me, by_answer.get("allowed", ()), by_answer.get("refused", ()), by_answer.get("untold", ()))


async def _probe(this: Round, method: str, path: str, body: dict[str, object] | None) -> str:
    """Tell whether a read is allowed, refused, or neither can be told."""
    answer = await ask_api(this.settings, method, path, body=body, deadline=this.deadline)
    if answer.status == 200 and not answer.error_type:
        return "allowed"
    lacks = answer.status == 403 or error_of(parsed(answer)[0], this.redactor)[0] == "token_unauthorized"
    return "refused" if lacks else "untold"
