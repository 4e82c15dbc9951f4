"""The decision tree: what a question, a branch and an ending are, and the loop that walks from one to the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from intercom_kit.decide.facts import Facts
from intercom_kit.records import Cause, CheckName, Step, Verdict

REPORTED = "Has Intercom reported an incident that explains it?"


@dataclass(frozen=True)
class Ending:
    """Where a path ends. runbook: whose entries to follow, when they are not simply the cause's own."""

    verdict: Verdict
    cause: Cause
    runbook: tuple[Cause, ...] = ()

    @property
    def entries(self) -> tuple[Cause, ...]:
        """The causes whose runbook entries apply, first things first."""
        return self.runbook or (self.cause,)


@dataclass(frozen=True)
class Branch:
    """An answer, when it holds, and where it leads: to another question by its key, or to an ending."""

    answer: str
    when: Callable[[Facts], bool]
    then: str | Ending


@dataclass(frozen=True)
class Question:
    """A question, the checks that answer it, and its branches: the first that holds is taken, the last always holds.

    detail: what the checks showed, in plain words, shown after the answer. skip: when not to ask it; its last branch is
    taken then.
    """

    text: str
    looks_at: tuple[CheckName, ...]
    branches: tuple[Branch, ...]
    detail: Callable[[Facts], str] = lambda _: ""
    skip: Callable[[Facts], bool] = lambda _: False


def otherwise(_: Facts) -> bool:
    """Hold always: the last branch of a question."""
    return True


def reported(
    then: Ending,
    acknowledged: Cause = "vendor_errors",
    explains: Callable[[Facts], bool] = lambda f: f.page.explains_api,
) -> Question:
    """Ask whether Intercom reported what we see, else end in `then`; a maintenance is a cause of its own."""
    return Question(
        REPORTED,
        ("status_page",),
        (
            Branch("yes", explains, Ending("vendor_acknowledged", acknowledged)),
            Branch(
                "yes, a maintenance that should have ended",
                lambda f: f.page.maintenance and f.page.overdue,
                Ending("vendor_acknowledged", "maintenance", ("maintenance", "vendor_errors")),
            ),
            Branch(
                "yes, a maintenance is under way",
                lambda f: f.page.maintenance,
                Ending("vendor_acknowledged", "maintenance"),
            ),
            Branch("unknown: the status page could not be read", lambda f: not f.page.readable, then),
            Branch("no longer: it was resolved, and we still see it", lambda f: bool(f.page.resolved), then),
            Branch("no, only something that does not", lambda f: bool(f.page.reported), then),
            Branch("no, which is weak evidence, as the page lags", otherwise, then),
        ),
        detail=_page_text,
    )


def _page_text(f: Facts) -> str:
    resolved = f"resolved {f.page.resolved_text}" if f.page.resolved else ""
    return "; ".join(part for part in (f.page.reported, resolved) if part)


def walk(f: Facts, questions: Mapping[str, Question], start: str) -> tuple[tuple[Step, ...], Ending]:
    """Walk from the first question to an ending; returns the path, one step a question, and the ending."""
    path: list[Step] = []
    key: str | Ending = start
    while not isinstance(key, Ending):
        question = questions[key]
        if question.skip(f):
            key = question.branches[-1].then
            continue
        branch = next(branch for branch in question.branches if branch.when(f))
        detail = question.detail(f)
        answer = f"{branch.answer}: {detail}" if detail else branch.answer
        path.append(Step(question=question.text, answer=answer, evidence=f.evidence(*question.looks_at)))
        key = branch.then
    return tuple(path), key
