"""How a decision compares with the hidden truth of a drill."""

from dataclasses import dataclass

from intercom_kit.drill.timeline import Truth
from intercom_kit.records import Decision


@dataclass(frozen=True)
class Row:
    """One field of the comparison; `none` where there is no severity."""

    field: str
    found: str
    truth: str

    @property
    def agrees(self) -> bool:
        """Whether the decision found the truth."""
        return self.found == self.truth


@dataclass(frozen=True)
class Score:
    """The comparison, field by field: verdict, cause and severity."""

    rows: tuple[Row, ...]

    @property
    def agrees(self) -> bool:
        """Whether all of it was found."""
        return all(row.agrees for row in self.rows)


def score(decision: Decision, truth: Truth) -> Score:
    """Compare a decision with the truth of the moment it was made at."""
    fields = ("verdict", "cause", "severity")
    return Score(tuple(Row(name, _word(getattr(decision, name)), _word(getattr(truth, name))) for name in fields))


def _word(value: str | None) -> str:
    return value or "none"
