"""How long the what-if panel takes to redraw, for logs of any size.

Run: python benchmarks/bench_panel.py [--moves 21]

A redraw is everything that happens in the kernel after a control moved: the replay, the picture and its SVG. The log is
generated for each span; its rollup is made before and not counted. Prints, for every policy, the median and the 95th
percentile of wall time and the median of processor time, which a busy machine does not stretch (goal: below 200 ms).
"""

import argparse
import statistics
import time
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

import pandas as pd

from intercom_kit.analyze.study import study
from intercom_kit.analyze.whatif import POLICIES
from intercom_kit.display.panel import Panel
from intercom_kit.drill.scenarios import Effect, Scenario, find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.logs.rollup import make_rollup

END = datetime(2026, 11, 24, 12, tzinfo=UTC)
NIGHT = Scenario(
    "night", "A sync without a limit, all night", (Effect(0, 9 * 3600, own_load=2.6),), recovery_s=9 * 3600
)
LOGS = ((find_scenario("rate-limited"), 4), (NIGHT, 12))  # with their hours
RATE, QUOTA = 12, 167  # calls a second, requests a window


def moved(panel: Panel, policy: str, moves: int) -> tuple[list[float], list[float]]:
    """Return wall and processor milliseconds of each redraw, with the limit at another place each time."""
    walls, works = [], []
    for move in range(moves):
        wall, work = time.perf_counter(), time.process_time()
        panel.draw(policy, 1 + move % (2 * panel.start_rate))._repr_html_()
        walls.append(1000 * (time.perf_counter() - wall))
        works.append(1000 * (time.process_time() - work))
    return walls, works


def main() -> None:
    """Measure every policy on every log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=21)
    options = parser.parse_args()
    for scenario, hours in LOGS:
        traffic = generate(scenario, hours=hours, rate=RATE, quota=QUOTA, seed=1, end=END)
        with TemporaryDirectory() as folder:
            write_log(traffic.frame, f"{folder}/requests.parquet")
            panel = Panel(study(make_rollup([f"{folder}/requests.parquet"])))
        span = pd.Timedelta(seconds=10 * len(panel.wanted))
        print(f"\n{len(traffic.frame):,} calls in {hours} h, throttled for {span.total_seconds() / 60:.0f} min")
        moved(panel, "none", 1)  # the first draw of a process finds the fonts
        for policy in POLICIES:
            walls, works = moved(panel, policy, options.moves)
            slow = statistics.quantiles(walls, n=20)[-1]
            print(
                f"  {policy:18} median {statistics.median(walls):4.0f} ms, p95 {slow:4.0f} ms, processor "
                f"{statistics.median(works):4.0f} ms"
            )


if __name__ == "__main__":
    main()
