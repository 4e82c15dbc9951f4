"""The runbook's way out of a 401, step by step: verify the new token, store it, roll it out, verify through /health.

Every step is a record, and where an incident is given an event on its timeline. Nothing is changed unless `apply` says
so and `confirm` agrees to each change. Tokens come as SecretStr and are never an argument, in a log or in a record.
"""

import asyncio
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from intercom_kit.collect.api import SEARCH, CheckRun, error_of, parsed
from intercom_kit.collect.checks import check_api, check_health
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.network import in_background
from intercom_kit.collect.secret_store import SecretManager, kubectl, run_command, same
from intercom_kit.errors import SecretError
from intercom_kit.protocol import LOOPBACK, is_error_body
from intercom_kit.records import CheckRecord, Event, EventKind, Record, UtcTime
from intercom_kit.redaction import Redactor
from intercom_kit.settings import Settings, is_plain

StepName = Literal["token", "workspace", "scopes", "secret", "rollout", "health"]
StepOutcome = Literal["ok", "failed", "unknown", "planned"]
EVENT_KINDS: dict[StepName, EventKind] = {
    "token": "triage",
    "workspace": "triage",
    "scopes": "triage",
    "secret": "mitigation",
    "rollout": "mitigation",
    "health": "note",
}
# The reads that the specification documents; each asks for one row, of which nothing is kept.
PROBES: dict[str, tuple[str, str, object]] = {
    "search contacts": ("POST", "/contacts/search", SEARCH),
    "list conversations": ("GET", "/conversations?per_page=1", None),
    "search conversations": ("POST", "/conversations/search", SEARCH),
}
HEALTHY_IN_A_ROW = 2  # a rolling restart may answer from a new and from an old pod in turn
PATIENCE_S = 300.0
EVERY_S = 1.0


class TokenStep(Record):
    """One step of a rotation, and what came of it.

    outcome: `planned` when it would change something and was only shown; `unknown` when nobody could tell.
    observed: what was found or done, in plain words. command: the same by hand, ready to copy; never with a secret.
    """

    name: StepName
    outcome: StepOutcome
    observed: str
    at: UtcTime
    command: str = ""


OnStep = Callable[[TokenStep], None]
Agree = Callable[[TokenStep], bool]


class _Look(NamedTuple):
    """What the API tells of a token.

    me: GET /me; elsewhere: what other regions know of a refused token, in words. reads: those of PROBES, each allowed,
    refused or unclear; none where the token is nobody's.
    """

    me: CheckRecord
    elsewhere: str
    reads: Mapping[str, str]

    @property
    def valid(self) -> bool:
        return self.me.outcome == "ok"


class _Steps:
    """Collects the steps: each is reported, and added to the timeline when it was more than a plan."""

    def __init__(self, on_step: OnStep | None, folder: IncidentFolder | None) -> None:
        self.taken: list[TokenStep] = []
        self._on_step, self._folder = on_step, folder

    def add(self, name: StepName, outcome: StepOutcome, observed: str, command: str = "") -> TokenStep:
        step = TokenStep(name=name, outcome=outcome, observed=observed, at=datetime.now(UTC), command=command)
        self.taken.append(step)
        if self._folder and outcome != "planned":
            self._folder.add_event(Event(at=step.at, kind=EVENT_KINDS[name], text=observed))
        if self._on_step:
            self._on_step(step)
        return step

    @property
    def failed(self) -> bool:
        return any(step.outcome == "failed" for step in self.taken)


def verify_token(
    settings: Settings,
    new: SecretStr | None = None,
    *,
    folder: IncidentFolder | None = None,
    on_step: OnStep | None = None,
) -> tuple[TokenStep, ...]:
    """Tell whose token it is, whether its workspace and region are the right ones, and what it may read.

    new: the token to verify, compared with the one that is set; unless given, the one that is set. folder: whose
    checks tell the workspace when the set token is refused already, and whose timeline is written.
    Raises KitError when there is no token at all.
    """
    steps = _Steps(on_step, folder)
    _verify(steps, settings, new, folder)
    return tuple(steps.taken)


def rotate_token(
    settings: Settings,
    new: SecretStr,
    *,
    manager: SecretManager | None = None,
    rollout: Sequence[Sequence[str]] = (),
    apply: bool = False,
    confirm: Agree = lambda _: True,
    folder: IncidentFolder | None = None,
    on_step: OnStep | None = None,
    patience_s: float = PATIENCE_S,
) -> tuple[TokenStep, ...]:
    """Verify the new token, put it into the secret manager, roll it out, and wait until our own service is healthy.

    manager: of the setting INTERCOM_SECRET_ID unless given. rollout: commands in order; kubectl for the setting
    INTERCOM_DEPLOYMENT unless given. apply: change things, each after confirm has agreed to its planned step; else
    they are only planned. patience_s: how long to wait for health. A failed step is the last one.
    """
    steps, clean = _Steps(on_step, folder), Redactor(new, *settings.secrets())
    _verify(steps, settings, new, folder)
    if not steps.failed:
        agree = confirm if apply else None
        stored = _store(steps, manager or SecretManager(settings.secret_id), settings, new, agree)
    if not steps.failed:
        agree = agree if stored else None
        rolled_out = _roll_out(steps, rollout or kubectl(settings.deployment), clean, agree)
    if not steps.failed:
        steps.add("health", *_health(settings, patience_s if rolled_out else 0.0))
    return tuple(steps.taken)


def _verify(steps: _Steps, settings: Settings, new: SecretStr | None, folder: IncidentFolder | None) -> None:
    token, old = (new, settings.token) if new else (SecretStr(settings.require_token()), None)
    wrong = ""
    if not is_plain(token):
        wrong = "The token holds a space, a line break or a character no token has. Copy it again."
    elif old and same(token.get_secret_value(), old):
        wrong = "The new token is the one that is set already. Regenerate it in the Developer Hub."
    if wrong:
        steps.add("token", "failed", wrong)
        return
    seen, *rest = in_background(lambda: _look_at(settings, token, old)).result()
    steps.add("token", "ok" if seen.valid else "failed", f"{seen.me.observed} {seen.elsewhere}".strip())
    if seen.valid:
        before = next((look for look in rest if look.valid), None)
        known = before.me.workspace if before else _workspace_of(folder)
        _compare_workspace(steps, settings, seen, known, is_new=new is not None)
        _compare_scopes(steps, seen, before)


async def _look_at(settings: Settings, *tokens: SecretStr | None) -> list[_Look]:
    """Ask about the tokens that there are at once; within twice the time of a check."""
    return await asyncio.gather(*(_look(settings, token) for token in tokens if token))


async def _look(settings: Settings, token: SecretStr) -> _Look:
    """Ask who a token is and, if it is anybody, what it may read; after a 401, which other region knows it."""
    mine = settings.model_copy(update={"token": token})
    run = CheckRun.begin(mine, f"token-{secrets.token_hex(3)}", time_limits=2)
    me = await check_api(run)
    if me.outcome != "ok":
        asks = me.http_status == 401 and me.answered_by != "gateway"
        return _Look(me, await _elsewhere(run) if asks else "", {})
    reads = await asyncio.gather(*(_probe(run, *probe) for probe in PROBES.values()))
    return _Look(me, "", dict(zip(PROBES, reads, strict=True)))


async def _elsewhere(run: CheckRun) -> str:
    """Ask the other regions' API about a refused token, and say what they know; a drill's stays on this machine."""
    settings = run.settings
    others = {
        region: settings.model_copy(update={"base_url_override": url})
        for region, url in settings.api_hosts.items()
        if region != settings.region and (urlsplit(url).hostname in LOOPBACK or not settings.is_loopback)
    }
    asking = (replace(run, settings=other).call("GET", "/me") for other in others.values())
    statuses = dict(zip(others, (answer.status for answer in await asyncio.gather(*asking)), strict=True))
    if home := next((region for region, status in statuses.items() if status == 200), None):
        return f"But region {home} knows this token. Set INTERCOM_REGION={home}; a new token would not help."
    if statuses and set(statuses.values()) == {401}:
        return f"The other regions ({', '.join(statuses)}) do not know it either."
    return f"A token of another region than {settings.region} looks the same: check INTERCOM_REGION."


async def _probe(run: CheckRun, method: str, path: str, body: object) -> str:
    """Tell whether a read is allowed, refused, or neither is clear."""
    answer = await run.call(method, path, body)
    said, _ = parsed(answer)
    if answer.status == 200 and not answer.error_type and not is_error_body(said):
        return "allowed"
    lacks = answer.status == 403 or error_of(said, run.redactor).code == "token_unauthorized"
    return "refused" if lacks else "unclear"


def _compare_workspace(steps: _Steps, settings: Settings, seen: _Look, known: str | None, *, is_new: bool) -> None:
    """Compare with the workspace that is known, of the old token or the incident's checks, and with the region."""
    me = seen.me
    where = f"workspace {me.workspace or 'without an id'} in {me.region or 'an unknown region'}"
    if me.region in settings.api_hosts and me.region != settings.region:
        steps.add("workspace", "failed", f"The token is for {where}, but INTERCOM_REGION says {settings.region}.")
    elif known and known != me.workspace:
        steps.add("workspace", "failed", f"The token is for {where}, but until now it was workspace {known}.")
    elif is_new and not known:
        text = f"The token is for {where}. Nothing tells which workspace the old one was for: compare it yourself."
        steps.add("workspace", "unknown", text)
    else:
        steps.add("workspace", "ok", f"The token is for {where}{', as until now' if known else ''}.")


def _workspace_of(folder: IncidentFolder | None) -> str | None:
    """Return the workspace that an incident's checks saw last."""
    seen = [check.workspace for check in folder.checks() if check.workspace] if folder and folder.exists else []
    return seen[-1] if seen else None


def _compare_scopes(steps: _Steps, seen: _Look, before: _Look | None) -> None:
    """Tell what the token may read; the API tells no scope but by refusing."""
    named = {
        word: [name for name, said in seen.reads.items() if said == word] for word in ("allowed", "refused", "unclear")
    }
    reads = "; ".join(f"{word}: {', '.join(names)}" for word, names in named.items() if names)
    lost = [name for name in named["refused"] if before and before.reads.get(name) == "allowed"]
    if lost:
        fix = "Add the scope in the Developer Hub, and regenerate the token"
        steps.add("scopes", "failed", f"The old token may {' and '.join(lost)}, the new one may not. {fix}.")
    elif named["refused"] or named["unclear"]:
        steps.add("scopes", "unknown", f"Reads, {reads}. Does the app need what is refused?")
    else:
        steps.add("scopes", "ok", f"Reads, {reads}. Scopes for writing cannot be known without writing.")


def _store(steps: _Steps, manager: SecretManager, settings: Settings, new: SecretStr, agree: Agree | None) -> bool:
    """Put the new token into the secret manager; tell whether it is there."""
    try:
        held = manager.look(settings.token, new)
        if held.holds(new):
            text = f"The secret {manager.secret_id} holds the new token already, version {held.version}."
            steps.add("secret", "ok", text)
            return True
        what = "the token that is set here" if held.holds(settings.token) else "another token than the one set here"
        form = f"the key {held.key!r} of a JSON document" if held.key else "the whole secret"
        text = f"The secret {manager.secret_id} holds {what}, as {form}. The new one goes in its place; AWS keeps "
        by_hand = (
            'printf %s "$NEW_TOKEN" | aws secretsmanager put-secret-value '
            f"--secret-id {shlex.quote(manager.secret_id)} --secret-string file:///dev/stdin"
        )
        planned = steps.add("secret", "planned", f"{text}the version before.", "" if held.key else by_hand)
        if not (agree and agree(planned)):
            return False
        version = manager.put(new, held)
    except SecretError as error:
        steps.add("secret", "failed", str(error))
        return False
    text = f"The new token is in the secret {manager.secret_id}, version {version}; read back and equal."
    steps.add("secret", "ok", text)
    return True


def _roll_out(steps: _Steps, commands: Sequence[Sequence[str]], clean: Redactor, agree: Agree | None) -> bool:
    """Run the rollout's commands; tell whether all succeeded."""
    line = clean.without_secrets(" && ".join(map(shlex.join, commands)))
    planned = steps.add("rollout", "planned", "The app restarts, so that it picks the new token up.", line)
    if not (agree and agree(planned)):
        return False
    for command in commands:
        ok, said = run_command(command)
        said = clean.text(said).rstrip(".")
        if not ok:
            failed = clean.without_secrets(shlex.join(command))
            text = f"{failed} failed: {said}. The new token is stored, but the app may not use it yet."
            steps.add("rollout", "failed", text, line)
            return False
    steps.add("rollout", "ok", f"The app was restarted: {said}.", line)
    return True


def _health(settings: Settings, patience_s: float) -> tuple[StepOutcome, str]:
    """Wait until our own service is healthy, twice in a row; only say so where there is no patience."""
    if not settings.health_url:
        text = "No health endpoint is configured. Set INTERCOM_HEALTH_URL, and verify with: intercom-kit triage"
        return "unknown" if patience_s else "planned", text
    if not patience_s:
        return "planned", f"Our service's health is requested until it says that {settings.health_path} is healthy."
    return in_background(lambda: _healthy(settings, patience_s)).result()


async def _healthy(settings: Settings, patience_s: float) -> tuple[StepOutcome, str]:
    started, in_a_row = time.monotonic(), 0
    while True:
        check = await check_health(CheckRun.begin(settings, "token"))
        in_a_row = in_a_row + 1 if check.outcome == "ok" else 0
        waited_s = time.monotonic() - started
        if in_a_row == HEALTHY_IN_A_ROW:
            return "ok", f"{check.observed} That was {waited_s:.0f} s after the rollout."
        if waited_s > patience_s:
            why = f"It was not healthy within {patience_s:g} s. Triage again: intercom-kit triage"
            return "failed", f"{check.observed} {why}"
        await asyncio.sleep(EVERY_S)
