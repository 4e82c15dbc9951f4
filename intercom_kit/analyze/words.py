"""Numbers and times as people read them."""

from datetime import datetime


def moment(at: datetime) -> str:
    """Return a time as `2026-11-24 09:30:00 UTC`."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def length(start: datetime, end: datetime) -> str:
    """Return how long it was, as `45 s`, `12 min` or `3 h 20 min`."""
    return span_words((end - start).total_seconds())


def span_words(seconds: float) -> str:
    """Return so many seconds as `45 s`, `12 min` or `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90 and seconds != 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def milliseconds(value: float) -> str:
    """Return a duration in ms below one second, in s above."""
    if value < 1000:
        return f"{value:,.0f} ms"
    return f"{value / 1000:.3g} s" if value < 100_000 else f"{value / 1000:,.0f} s"


def share(value: float) -> str:
    """Return a share in per cent, with as many digits as it deserves."""
    percent = 100 * value
    if 99 < percent < 100:
        return f"{min(percent, 99.9):.1f} %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


def interval(start: datetime, end: datetime) -> str:
    """Return an interval as `between 2026-11-24 09:29:50 and 09:30:00 UTC`."""
    if moment(start) == moment(end):
        return f"at {moment(end)}"
    last = moment(end) if start.date() != end.date() else f"{end:%H:%M:%S} UTC"
    return f"between {start:%Y-%m-%d %H:%M:%S} and {last}"
