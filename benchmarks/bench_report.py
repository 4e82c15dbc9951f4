"""Time of `intercom-kit report`: against the commands one would type otherwise, and against a script without a kernel.

Run: python benchmarks/bench_report.py [--runs 5]

All work on the same simulated incident of a rate limit, with a request log of hours, and write the same views: three
reports with their analysis and pictures.
- commands: `papermill` and `jupyter nbconvert`, for one notebook after the other;
- script: the same calls that the notebooks make, in one process, the output written as HTML;
- report: `intercom-kit report`, which also runs each notebook in a process of its own, checks how it ended, seals the
  archive and updates the index.
The runs alternate, so that a busy machine slows all of them; CPU is that of a command and all its children. The phases
are those of one more `report`, and `triage` is timed from its start until its report stands.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intercom_kit.drill.play import play_incident
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import serve
from intercom_kit.settings import load_settings

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = ("01-triage", "02-rate-limit-and-latency", "03-postmortem")
ID = "INC-1"


def plain(outputs: Path) -> None:
    """Do what the three notebooks do, without a kernel, and write what they show as one HTML file each."""
    from intercom_kit.analyze.findings import findings_of
    from intercom_kit.analyze.study import open_study
    from intercom_kit.display import charts, charts_log, log_tables, tables
    from intercom_kit.incident.triage import load_triage
    from intercom_kit.postmortem.document import open_postmortem

    settings = load_settings(dotenv=None, outputs=outputs)
    triage = load_triage(settings, ID)
    decision = triage.decision
    first = [
        tables.verdict_card(decision, triage.facts), tables.actions_list(decision.actions),
        tables.message(triage.update), tables.checks_table(triage.checks), charts.phases_chart(triage.checks),
        charts.headroom_chart(decision.rate_limit), tables.path_table(decision), tables.reasons_table(decision),
    ]  # fmt: skip
    study = open_study(settings, ID)
    drawn = ("headroom", "used_by_app", "retries", "what_if", "percentiles", "heat_map", "errors", "burn")
    second = [log_tables.findings_card(findings_of(study)), *(getattr(charts_log, draw)(study) for draw in drawn)]
    second += [log_tables.comparison_table(study), log_tables.routes_table(study)]
    postmortem = open_postmortem(settings, ID)
    postmortem.write()
    for name, views in zip(NAMES, (first, second, [postmortem]), strict=True):
        (outputs / f"{name}.html").write_text("\n".join(view._repr_html_() for view in views))


def commands(outputs: Path) -> list[list[str]]:
    """Return the commands that one would type, in order."""
    typed = []
    for name in NAMES:
        made = str(outputs / f"{name}.ipynb")
        typed.append(["papermill", str(NOTEBOOKS / f"{name}.ipynb"), made, "-p", "incident_id", ID])
        typed.append(["jupyter", "nbconvert", "--to", "html", made])
    return typed


def timed(commands: list[list[str]], environment: dict[str, str]) -> tuple[float, float]:
    """Run commands one after another; return seconds of time and of CPU, those of all children included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for command in commands:
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


PHASES = """
import sys, time
begun = time.perf_counter()
from pathlib import Path
from intercom_kit.archive.launch import preload
preload()
from intercom_kit.archive import make
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.settings import load_settings

seen = []
def watched(name, says):
    real = getattr(make, name)
    def call(*args, **kwargs):
        start = time.perf_counter()
        try:
            return real(*args, **kwargs)
        finally:
            seen.append((start - begun, time.perf_counter() - begun, says(*args)))
    setattr(make, name, call)

watched("run_notebook", lambda source, *_: f"run {source.stem}")
watched("_summarize", lambda *_: "summarize")
watched("render_reports", lambda *_: "render")
watched("seal", lambda *_: "seal")
watched("update_index", lambda *_: "index")
seen.append((0.0, time.perf_counter() - begun, "import"))
settings = load_settings(outputs=Path(sys.argv[1]))
make.make_reports(IncidentFolder(settings.outputs, "INC-1"), {name: {} for name in sys.argv[2:]}, settings)
for start, end, what in sorted(seen):
    print(f"  {what:34} {start:6.2f} s to {end:6.2f} s  ({end - start:.2f} s)")
print(f"  {'all':34} {time.perf_counter() - begun:20.2f} s")
"""


@contextmanager
def incident() -> Iterator[tuple[Path, dict[str, str]]]:
    """Simulate an incident, as if it had been a real one; yield its outputs and the environment that finds them."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder)
        simulated = play_incident(load_settings(dotenv=None, outputs=outputs), "rate-limited", ID)
        simulated.folder.write_facts(simulated.folder.facts().model_copy(update={"drill": None}))
        yield outputs, os.environ | {"INTERCOM_KIT_OUTPUTS": str(outputs)}


def triage(environment: dict[str, str]) -> tuple[float, float]:
    """Return the time of one triage of a new incident."""
    with tempfile.TemporaryDirectory() as outputs, serve(find_scenario("healthy")) as loopback:
        return timed([[*KIT, "triage"]], environment | loopback.environment | {"INTERCOM_KIT_OUTPUTS": outputs})


KIT = [sys.executable, "-m", "intercom_kit"]


def main() -> None:
    """Run all of them in turn and print the medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain(options.plain)
        return
    with incident() as (outputs, environment):
        work: dict[str, Callable[[], tuple[float, float]]] = {
            "three commands in sequence": lambda: timed(commands(outputs), environment),
            "a script without a kernel": lambda: timed(
                [[sys.executable, __file__, "--plain", str(outputs)]], environment
            ),
            "intercom-kit report": lambda: timed([[*KIT, "report", ID]], environment),
            "intercom-kit triage": lambda: triage(environment),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
        for _ in range(options.runs):
            for name, run in work.items():
                found[name].append(run())
        show(found)
        print("phases of one report")
        subprocess.run([sys.executable, "-c", PHASES, str(outputs), *NAMES], env=environment, check=True)


def show(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print the medians and the two ratios."""
    medians: dict[str, Any] = {
        name: [statistics.median(each) for each in zip(*runs, strict=True)] for name, runs in found.items()
    }
    for name, (seconds, cpu) in medians.items():
        print(f"{name:30} median {seconds:6.2f} s, CPU {cpu:5.2f} s, of {len(found[name])} runs")
    report = medians["intercom-kit report"][0]
    print(f"report / commands {report / medians['three commands in sequence'][0]:15.2f}  (goal: at most 0.20)")
    print(f"report / script {report / medians['a script without a kernel'][0]:17.2f}  (goal: at most 2.50)")


if __name__ == "__main__":
    main()
