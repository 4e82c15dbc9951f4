"""The findings in sentences, computed from the frames: a chart's caption, and the lines that a terminal prints."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from intercom_kit.analyze import latency
from intercom_kit.analyze.detect import Episode
from intercom_kit.analyze.latency import FAST_SLO, SLOW_MS, burn_words
from intercom_kit.analyze.ratelimit import SHARED, UNATTRIBUTED, hidden_bursts, time_to_exhaustion, united
from intercom_kit.analyze.study import Study
from intercom_kit.analyze.whatif import GIVE_UP_S, POLICY_WORDS, improving, recorded
from intercom_kit.records import Event, EventKind, Onset
from intercom_kit.text import duration, interval, milliseconds, moment, share


def readings(seen: Study) -> Iterator[str]:
    """Yield the bottom line, then one reading per question; those about 429s only when there were some."""
    yield bottom_line(seen)
    yield from others(seen)
    yield from detection_gap(seen)
    yield headroom(seen)
    if len(seen.pressed) < len(seen.headroom) or seen.sample_of > 1:
        yield used_by_app(seen)
    if len(seen.retries):
        yield retries(seen)
        yield what_if(seen)
    yield percentiles(seen)
    yield errors(seen)
    yield burn_words(seen.burn)


def bottom_line(seen: Study) -> str:
    """Say whether something happened, when, how bad it was, and what the rate limit had to do with it."""
    found = seen.detected.main
    if found is None:
        calls, failed = int(seen.windows["requests"].sum()), share(seen.errors["share"].sum())
        span = f"between {moment(seen.span[0])} and {moment(seen.span[1])}"
        return seen.detected.thin or f"No incident found in {calls:,} calls {span}: {failed} of them failed."
    return " ".join(part for part in (_when(found), _damage(seen), _limit_part(seen)) if part)


def _when(found: Episode) -> str:
    """Onset and recovery as intervals; `(a ramp)` and the like, and where, when it was not everywhere."""
    began = f"It began {interval(found.onset.after, found.onset.by)}" if found.onset.after else "The log begins in it"
    kind = "" if found.shape == "step" else f" (a {found.shape})"
    places = [*(f"app {app}" for app in found.scope.apps), *found.scope.routes]
    where = f", only for {', '.join(places)}" if places else ""
    ended = "it had not ended when the log did"
    if found.first_good:
        lasted = duration((found.until - found.since).total_seconds())
        ended = f"it ended {interval(found.last_bad, found.first_good)}, after {lasted}"
    line = f"{began}{kind}{where}; {ended}."
    if (change := found.main_change) and change.began and change.began.after:
        steps = ", then ".join(share(level.share) for level in found.levels)
        line += f" It came in levels: {steps}; the main change was {interval(change.began.after, change.began.by)}."
    return line


def others(seen: Study) -> Iterator[str]:
    """Name the other incidents of the log."""
    rest = [episode for episode in seen.detected.episodes if episode != seen.detected.main]
    if rest:
        times = ", ".join(f"{episode.signal} from {moment(episode.onset.by)}" for episode in rest[:3])
        yield f"The log holds {len(rest)} more, smaller: {times}{' …' if len(rest) > 3 else ''}."


def detection_gap(seen: Study) -> Iterator[str]:
    """Say how long the incident went unseen, where the timeline tells it."""
    ends: dict[EventKind, str] = {"alert": "first alert", "vendor": "status page's notice"}
    for kind, name in ends.items():
        if seen.detected.main and (gap := seconds_until(kind, seen.detected.main.onset, seen.events)):
            least, most = duration(max(gap[0], 0)), duration(max(gap[1], 0))
            took = least if least == most else f"{least} to {most}"
            yield f"From the onset to the {name} it took {took if gap[1] > 0 else 'no time: it came before'}."


def seconds_until(kind: EventKind, onset: Onset, events: Iterable[Event]) -> tuple[float, float] | None:
    """Return how long after the onset the first event of a kind came, at least and at most; None where none came.

    Events before the last good moment are of something else. Negative between that moment and the first bad one.
    """
    since = onset.after or onset.by
    at = min((event.at for event in events if event.kind == kind and event.at >= since), default=None)
    return ((at - onset.by).total_seconds(), (at - since).total_seconds()) if at else None


def _p95(comparison: pd.DataFrame) -> dict[str, float]:
    """The row of p95, by column."""
    row = comparison[comparison["metric"].eq("p95_ms")].iloc[0].drop("metric")
    return {str(name): float(value) for name, value in row.items()}


def _damage(seen: Study) -> str:
    failing = latency.errors(seen.during, "code")
    failed = failing["share"].sum()
    line = f"In it {share(failed)} of the calls failed"
    if failed >= 0.01:
        line += f", mostly {failing['code'].iloc[0]}"
    change = None if seen.comparison is None else _p95(seen.comparison)
    if change is not None and change["low"] > 0 and change["incident"] > 1.5 * change["baseline"]:
        slower = f"p95 rose from {milliseconds(change['baseline'])} to {milliseconds(change['incident'])}"
        line = f"{line}; {slower}" if failed >= 0.01 else f"The {slower}; {line[0].lower()}{line[1:]}"
    return f"{line}."


def _limit_part(seen: Study) -> str:
    """Whose quota the 429s of the incident came from, if any number did."""
    during = seen.headroom[seen.headroom["window_start"].isin(seen.during["window_start"])]
    throttled, pool, overload = (int(during[name].sum()) for name in ("throttled", "with_quota_left", "overload"))
    if overload > throttled:
        return "The 429s say that Intercom's servers were overloaded; our quota was not the reason."
    if not throttled:
        return ""
    if pool > throttled / 2:
        return (
            f"{share(pool / throttled)} of the 429s came while our own window had quota left: the workspace's shared "
            "quota was used up, and other apps of the workspace are the suspects."
        )
    worst = str(during.groupby("quota")["throttled"].sum().idxmax())
    return f"{'Our apps' if worst == SHARED else f'App {worst}'} used up its own quota."


def headroom(seen: Study) -> str:
    """Say how often the quota was used up, or how near it came."""
    known = seen.headroom[seen.headroom["used_share"].notna()]
    if known.empty:
        return "Unknown how much of the rate limit was left: no answer in the log carried its headers."
    parts = [_exhaustion(seen) if len(seen.exhausted) else _closest(known)]
    hidden = hidden_bursts(seen.headroom, pressure=seen.pressure)
    if len(hidden):
        worst = hidden.sort_values("worst_share").iloc[-1]
        parts.append(
            f"A minute's average hid a burst {_times(len(hidden))}: in the minute from "
            f"{worst['minute']:%H:%M} {share(worst['minute_share'])} was used, in its fullest window "
            f"{share(worst['worst_share'])}."
        )
    if unknown := len(seen.headroom) - len(known):
        parts.append(f"{unknown:,} of {len(seen.headroom):,} windows are unknown: no headers came.")
    soon = (_soon(row) for row in time_to_exhaustion(seen.headroom).to_dict("records"))
    return " ".join([*parts, *filter(None, soon)])


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _exhaustion(seen: Study) -> str:
    spans = seen.exhausted
    quota = str(spans.groupby("quota")["exhausted_s"].sum().idxmax())
    limit = seen.headroom.loc[seen.headroom["quota"].eq(quota), "limit"].max()
    others = f", and that of {spans['quota'].nunique() - 1} more" if spans["quota"].nunique() > 1 else ""
    return (
        f"In {seen.scope} the quota of {limit:,} requests a window ({quota}{others}) was used up "
        f"{_times(len(united(spans)))}, from {moment(spans['from'].min())} to {moment(spans['to'].max())}: nothing was "
        f"left for {duration(spans['exhausted_s'].sum())} in all."
    )


def _closest(known: pd.DataFrame) -> str:
    worst = known.iloc[int(known["used_share"].argmax())]
    return (
        f"The quota was never used up: the fullest window, at {moment(worst['window_start'])} ({worst['quota']}), used "
        f"{share(worst['used_share'])} of {worst['limit']:,} requests."
    )


def _soon(row: dict[Any, Any]) -> str:
    """The band of time to exhaustion, when there is something to fear."""
    now = f"In the last minutes {row['quota']} asked for {share(row['share_low'])} to {share(row['share_high'])}"
    if row["share_high"] >= 1:
        latest = f"{row['latest_s']:.0f} s" if row["share_low"] >= 1 else "never"
        return f"{now} of its quota: a window is used up after {row['soonest_s']:.0f} s ({latest} at the low rate)."
    if row["full_in_min"] <= 60:
        return f"{now} of its quota, growing: if that goes on, the window is full in {row['full_in_min']:.0f} minutes."
    return ""


def used_by_app(seen: Study) -> str:
    """Say who used the quota in the windows under pressure, and what our log does not show."""
    if seen.sample_of > 1:
        return (
            f"Unknown who used the quota: in every window the headers count about {seen.sample_of} times the calls "
            f"that the log holds. Is it a sample? Then say so with --sampled {seen.sample_of}."
        )
    frame = seen.attribution
    if frame["used"].sum() == 0:
        return "Unknown who used the quota: no window under pressure carried the rate-limit headers."
    rest = float(frame["share"].iloc[-1])
    ours = frame.loc[frame["app"].ne(UNATTRIBUTED) & frame["share"].gt(0), ["app", "share", "of_quota"]]
    parts = [f"{app} {share(part)} ({share(own)} of its quota)" for app, part, own in ours.itertuples(index=False)]
    parts += [f"at least {share(rest)} was not in our log"] if rest >= 0.01 else []
    line = f"Of what was used in the windows under pressure: {', '.join(parts)}."
    if rest >= 0.01:
        line += " Suspects are another process with the same token, and other apps of the workspace."
    if len(ours):
        line += f" Most of ours went to {seen.used_by('route')['route'].iloc[0]}."
    pool, throttled = (int(seen.headroom[name].sum()) for name in ("with_quota_left", "throttled"))
    if pool:
        line += (
            f" {pool:,} of {throttled:,} refused calls came while our own window had quota left: the workspace's "
            "shared quota was used up, and its other apps are the suspects."
        )
    return line


def retries(seen: Study) -> str:
    """Say how refused calls were repeated."""
    if seen.retries.empty:
        return "No call was refused by the rate limit, so none was repeated for it."
    worst = seen.retries.iloc[0]
    if pd.isna(worst["share_1s"]):
        return "Unknown how refused calls were repeated: the log names neither contacts nor conversations to follow."
    return (
        f"Of app {worst['app']}'s refused calls {share(worst['share_before_reset'])} came again before the reset, "
        f"{share(worst['share_1s'])} within a second, to be refused again: each call that was meant became "
        f"{worst['amplification']:.2f} calls."
    )


def what_if(seen: Study) -> str:
    """Say what would have helped, by calls served in time; never what caused it."""
    if seen.no_what_if:
        return seen.no_what_if
    was, better = recorded(seen.arrivals), improving(seen.arrivals, seen.what_if)
    assumed = (
        f"{was['meant']:,} calls were meant in the throttled span, a call that came again within 35 s counted once"
    )
    if better.empty:
        return f"No way of retrying would have served more calls in time: {assumed}."
    best = better.iloc[0]
    line = (
        f"What would have helped: {POLICY_WORDS[best['policy']]} would have met {best['throttled']:,} 429s instead of "
        f"{was['throttled']:,} and lost {best['lost']:,} calls instead of {was['lost']:,}, with half of the calls "
        f"delayed by at most {best['delay_p50_s']:.0f} s and 99 % by at most {best['delay_p99_s']:.0f} s ({assumed})."
    )
    if best["lost"] > 0.005 * was["meant"]:
        ours = seen.headroom["with_quota_left"].sum() <= was["throttled"] / 2
        why = "the work was more than the quota" if ours else "other apps of the workspace had used the shared quota"
        line += f" Those lost would have waited over {GIVE_UP_S} s: {why}, and no way of retrying changes that."
    return line


def percentiles(seen: Study) -> str:
    """Say how latency moved, with confidence where an incident was found."""
    frame = seen.percentiles.dropna(subset="p95_ms")
    if frame.empty:
        return "Unknown how long calls took: the log holds no durations."
    worst = frame.iloc[int(frame["p95_ms"].argmax())]
    line = f"p95 was highest at {moment(worst['time'])}: {milliseconds(worst['p95_ms'])}."
    if seen.comparison is not None:
        line = f"{_changed(seen.comparison)}{_successes(seen)} {line}"
    if unmeasured := latency.unmeasured(seen.latency):
        part = share(unmeasured / max(1, seen.latency["requests"].sum()))
        return (
            f"{line} {unmeasured:,} calls ({part}) got no answer and their wait is unknown: no percentile counts them."
        )
    lost = latency.timeouts(seen.windows)
    return f"{line} {lost:,} calls timed out; they count with the time they waited." if lost else line


def _changed(comparison: pd.DataFrame) -> str:
    row = _p95(comparison)
    if pd.isna(row["baseline"]) or pd.isna(row["incident"]):
        return "p95 cannot be compared: there are no durations on one side of the onset."
    before, during = milliseconds(row["baseline"]), milliseconds(row["incident"])
    if pd.isna(row["low"]):
        return f"p95 was {before} before the onset and {during} after it; too few minutes to tell more."
    if row["low"] <= 0 <= row["high"]:
        return f"p95 did not change measurably: {before} before the onset, {during} during the incident."
    low, high = sorted(abs(row[name]) for name in ("low", "high"))
    band = f"95 % interval of the change {milliseconds(low)} to {milliseconds(high)}"
    verb = "rose" if row["low"] > 0 else "fell"
    return f"p95 {verb} from {before} to {during} (× {row['incident'] / row['baseline']:.2g}; {band})."


def _successes(seen: Study) -> str:
    """How the successful calls fared, where so many failed that all calls together mislead."""
    if latency.errors(seen.during)["share"].sum() < 0.1 or seen.comparison_of_successes is None:
        return ""
    row = _p95(seen.comparison_of_successes)
    if pd.isna(row["baseline"]):
        return ""
    if pd.isna(row["incident"]):
        return " Too many calls failed for it to mean much: none succeeded."
    before, during = milliseconds(row["baseline"]), milliseconds(row["incident"])
    return f" Calls refused at once count in it; the p95 of the successful ones went from {before} to {during}."


def heat_map(seen: Study) -> str:
    """Say between which durations most calls lay, and how many were far above."""
    table = seen.heat_map
    if table.empty:
        return "Unknown how long calls took: the log holds no durations."
    by_row = table.sum(axis=1)
    running = by_row.cumsum() / by_row.sum()
    low, high = (table.index[min(int((running < q).sum()), len(table) - 1)] for q in (0.1, 0.9))
    slow = table[table.index >= 10 * high].sum()
    line = f"Eight calls of ten took {milliseconds(low)} to {milliseconds(high)}."
    if slow.sum() == 0:
        return f"{line} None took over ten times that."
    most = f"{slow.max():,} of them in {duration(pd.Timedelta(seen.freq).total_seconds())} from {moment(slow.idxmax())}"
    return f"{line} {int(slow.sum()):,} took over {milliseconds(10 * high)}, {most}."


def errors(seen: Study) -> str:
    """Say what share of calls failed, of what, and when it was worst."""
    frame = seen.errors
    if frame.empty:
        return "No call failed."
    most = frame[["code", "share"]].head(3).itertuples(index=False)
    kinds = ", ".join(f"{code} {share(part)}" for code, part in most)
    line = f"In {seen.scope} {share(frame['share'].sum())} of the calls failed ({kinds})"
    worst = latency.worst_minute(seen.windows, seen.incident or seen.span)
    if worst is None:
        return f"{line}."
    where = "in the worst minute of the incident" if seen.incident else "in the worst minute"
    return f"{line}; {where}, from {worst[0]:%H:%M}, {share(worst[1])}."


def slow_calls(seen: Study, slow_ms: float = SLOW_MS) -> str:
    """Say which share of calls was slow, in the incident where one was found, and whether the objective allows it."""
    since, until = seen.incident or seen.span
    known = seen.latency.dropna(subset="bucket")
    known = known[known["minute"].between(since.floor("min"), until, inclusive="left")]
    if known.empty:
        return "Unknown how many calls were slow: there are no durations."
    goal = f"latency objective ({100 * FAST_SLO:g} % of calls within {duration(slow_ms / 1000)})"
    is_slow = latency.representative_ms(known["bucket"]) > slow_ms
    part = known["requests"][is_slow].sum() / known["requests"].sum()
    if part <= 1 - FAST_SLO:
        return f"{share(part)} took longer: within the {goal}."
    times = part / (1 - FAST_SLO)
    return f"{share(part)} of calls were slow: {times:.2g} times what the {goal} allows."
