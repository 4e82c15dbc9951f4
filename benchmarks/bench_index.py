"""How much processor time the index of all incidents takes.

Run: python benchmarks/bench_index.py [--incidents 10000]

One drill's sealed archive is copied under many ids; then the index is made. Prints its processor time, which a busy
machine stretches less than the time (goal: at most 3 s for 10,000 incidents).
"""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from intercom_kit.archive.index import summarize, update_index
from intercom_kit.archive.seal import seal
from intercom_kit.drill.play import play_incident
from intercom_kit.settings import load_settings

FILES = ("incident.json", "manifest.json", "evidence/checks.jsonl", "evidence/events.jsonl")


def main() -> None:
    """Make the incidents and print how long their index takes, the first time and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--incidents", type=int, default=10_000)
    number = parser.parse_args().incidents
    with TemporaryDirectory() as outputs:
        settings = load_settings(dotenv=None, outputs=Path(outputs))
        played = play_incident(settings, "token-revoked", "INC-00000", with_log=False).folder
        seal(played, at=datetime.now(UTC), summary=summarize(played, settings))
        for copy in range(1, number):
            folder = settings.outputs / f"INC-{copy:05}"
            (folder / "evidence").mkdir(parents=True)
            for name in FILES:
                (folder / name).write_text((played.path / name).read_text().replace("INC-00000", folder.name))
        start = time.process_time()
        update_index(settings, datetime.now(UTC).date())
        print(f"{time.process_time() - start:.2f} s of processor time for {number:,} incidents")


if __name__ == "__main__":
    main()
