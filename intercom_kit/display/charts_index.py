"""The trends over all incidents: how many by cause, and how long it took to restore the service."""

from collections import Counter
from collections.abc import Mapping

from intercom_kit.display.charts import BLUE, INK, VERMILION, Chart, new_axes
from intercom_kit.text import duration

_CAUSES = 10  # bars; further causes are added up


def causes_chart(counts: Mapping[str, int]) -> Chart:
    """Return how many incidents each cause had: one bar per cause, the most frequent first."""
    title = "Incidents by cause"
    ordered = Counter(counts).most_common()
    shown = ordered[:_CAUSES]
    if rest := sum(count for _, count in ordered[_CAUSES:]):
        shown.append(("others", rest))
    figure, axes = new_axes(title, height_in=1 + 0.25 * len(shown))
    axes.barh([name for name, _ in shown], [count for _, count in shown], color=BLUE, height=0.65)
    axes.invert_yaxis()
    for row, (_, count) in enumerate(shown):
        axes.text(count, row, f" {count:,}", va="center", fontsize=9, color=INK)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    total, (most, number) = sum(counts.values()), shown[0]
    caption = f"{most} was the most frequent cause: {number:,} of {total:,} incidents ({number / total:.0%})."
    alt = f"Bar chart, one bar per cause. {'; '.join(f'{name} {count:,}' for name, count in shown)}."
    return Chart(figure, title, caption, alt)


def restore_chart(months: Mapping[str, tuple[float, int]]) -> Chart:
    """Return the mean time to restore by month. months: YYYY-MM → (mean in seconds, number of incidents)."""
    title = "Mean time to restore, by month"
    figure, axes = new_axes(title)
    names = list(months)
    minutes = [seconds / 60 for seconds, _ in months.values()]
    axes.plot(range(len(names)), minutes, color=VERMILION, marker="o", markersize=4, linewidth=1.5)
    step = -(-len(names) // 12)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=30, ha="right")
    axes.set_ylabel("minutes", fontsize=9, color=INK)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("month of the onset (UTC)", fontsize=9, color=INK)
    last, first = names[-1], names[0]
    caption = f"{last}: {duration(months[last][0])}, the mean of {months[last][1]:,}."
    if first != last:
        caption += f" {first}: {duration(months[first][0])}, the mean of {months[first][1]:,}."
    worst = max(months, key=lambda month: months[month][0])
    alt = f"Line chart of minutes by month, {first} to {last}; highest in {worst}: {duration(months[worst][0])}."
    return Chart(figure, title, caption, alt)
