"""What the linter finds."""

from typing import Literal

from intercom_kit.records import Record


class Problem(Record):
    """One open rule. place: where; fix: how; by: who can close it, a person or the kit."""

    code: str
    level: Literal["error", "warning"]
    place: str
    message: str
    fix: str
    by: Literal["person", "kit"] = "person"

    @property
    def order(self) -> tuple[bool, int, str, str]:
        """Errors first, then by the rule's number."""
        return self.level != "error", int(self.code[1:]), self.place, self.message

    def __str__(self) -> str:
        return f"{self.code} {self.place}: {self.message} {self.fix}"


def error(code: str, place: str, message: str, fix: str, by: Literal["person", "kit"] = "person") -> Problem:
    """Return a problem that keeps the postmortem a draft."""
    return Problem(code=code, level="error", place=place, message=message, fix=fix, by=by)


def warning(code: str, place: str, message: str, fix: str) -> Problem:
    """Return advice."""
    return Problem(code=code, level="warning", place=place, message=message, fix=fix)
