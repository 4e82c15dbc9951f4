"""Time to verdict: `intercom-kit triage --no-report` against the runbook's five questions asked by curl, one by one.

Run: python benchmarks/bench_triage.py [--runs 9] [--delay-ms 150]

Both ask the same loopback Intercom, which adds the delay to every response; interpreter start is included. The runs
alternate, so that a busy machine slows both. Prints the medians and their ratio (goal: at most 0.5).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import serve

FIVE_QUESTIONS = r"""
auth="Authorization: Bearer $INTERCOM_ACCESS_TOKEN"
echo "1. API reachable: $(curl -s -o /dev/null -w '%{http_code}' -H "$auth" "$INTERCOM_BASE_URL/me")"
echo "2. Intercom status: $(curl -sL "$INTERCOM_STATUS_URL/api/v2/status.json")"
echo "3. Active incidents: $(curl -sL "$INTERCOM_STATUS_URL/api/v2/incidents.json")"
echo "4. Rate limit: $(curl -s -D - -o /dev/null -H "$auth" "$INTERCOM_BASE_URL/me" | grep -i x-ratelimit-remaining)"
echo "5. Our health: $(curl -s "$INTERCOM_HEALTH_URL")"
"""
TRIAGE = [sys.executable, "-m", "intercom_kit", "triage", "--no-report"]


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Return the seconds that one run of a command takes."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Run both side by side and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--delay-ms", type=float, default=150)
    options = parser.parse_args()
    curls, kits = [], []
    with (
        tempfile.TemporaryDirectory() as outputs,
        serve(find_scenario("healthy"), extra_delay_ms=options.delay_ms) as loopback,
    ):
        environment = os.environ | loopback.environment | {"INTERCOM_KIT_OUTPUTS": str(Path(outputs))}
        for _ in range(options.runs):
            curls.append(timed(["bash", "-c", FIVE_QUESTIONS], environment))
            kits.append(timed(TRIAGE, environment))
    curl, kit = statistics.median(curls), statistics.median(kits)
    print(f"five curls, one by one   median {curl:.3f} s of {options.runs} runs")
    print(f"intercom-kit triage      median {kit:.3f} s of {options.runs} runs")
    print(f"ratio                    {kit / curl:.2f} (goal: at most 0.50)")


if __name__ == "__main__":
    main()
