"""The decision tree: what a question, a branch and an ending are, and the loop that walks from one to the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from intercom_kit.decide.facts import Facts
from intercom_kit.records import Cause, CheckName, Step, Verdict


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

    detail: what the checks showed, in plain words, told after the answer. skip: when not to ask it; its last branch is
    taken then.
    """

    text: str
    looks_at: tuple[CheckName, ...]
    branches: tuple[Branch, ...]
    detail: Callable[[Facts], str] = lambda _: ""
    skip: Callable[[Facts], bool] = lambda _: False


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
