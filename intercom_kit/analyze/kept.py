"""Studies of stored rollups, kept in memory: the views of one incident look at one study, which is made once."""

from collections.abc import Sequence
from pathlib import Path

from intercom_kit.analyze import burn, ratelimit
from intercom_kit.analyze.figures import current_rollup, whole_rollup
from intercom_kit.analyze.study import Moment, Study, study
from intercom_kit.records import Event

_KEPT = 4  # studies; each is some megabytes
_studies: dict[object, Study] = {}


def stored_study(
    folder: Path,
    *,
    since: Moment = None,
    until: Moment = None,
    events: Sequence[Event] = (),
    pressure: float = ratelimit.PRESSURE,
    slo: float = burn.SLO,
    bucket_rate: float | None = None,
) -> Study:
    """Look at the rollup in an incident's folder: see study. The same files and arguments give the same object.

    Raises EvidenceError when the rollup is missing or broken, and what study raises.
    """
    stats = ((str(path), path.stat()) for path in sorted(current_rollup(folder).glob("*")))
    files = tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
    noted = tuple(event.evidence_id for event in events)
    key = (folder.resolve(), files, noted, since or None, until or None, pressure, slo, bucket_rate)
    if key not in _studies:
        while len(_studies) >= _KEPT:
            _studies.pop(next(iter(_studies)))
        _studies[key] = study(
            whole_rollup(folder),
            since=since,
            until=until,
            events=events,
            pressure=pressure,
            slo=slo,
            bucket_rate=bucket_rate,
        )
    return _studies[key]
