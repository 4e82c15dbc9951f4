"""A first drill in a notebook: an incident played on this machine, triaged as a real one, and scored."""

from dataclasses import dataclass

from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.score import Score, score
from intercom_kit.drill.server import serve
from intercom_kit.report.tables import View, table
from intercom_kit.report.triage import Triage, run_triage
from intercom_kit.settings import load_settings


@dataclass(frozen=True)
class Lesson:
    """One drill: what happened in the story, what triage found, and how that compares with the truth."""

    story: str
    triage: Triage
    score: Score


def play(scenario: str = "rate-limited") -> Lesson:
    """Play a scenario and triage it; the token and the URLs of the environment are never used.

    The incident is written to the outputs of the settings, marked as a drill. Raises ScenarioError for an unknown name.
    """
    played = find_scenario(scenario)
    with serve(played) as loopback:
        triage = run_triage(loopback.settings(outputs=load_settings().outputs), drill=played.name)
        return Lesson(played.story, triage, score(triage.decision, loopback.truth()))


def score_table(lesson: Lesson) -> View:
    """Return what triage found beside the truth that it did not know."""
    rows = [(row.field, row.found, row.truth, "agrees" if row.agrees else "DIFFERS") for row in lesson.score.rows]
    return table(("Field", "Found", "Truth", "Compared"), rows, f"The truth of this drill: {lesson.story}")
