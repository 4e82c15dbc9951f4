"""The what-if as a panel: a person chooses a way of retrying and a limit, and sees what the same calls would have met.

Everything comes from the rollup's arrivals, so a redraw costs the same for any size of log. Where nobody can move a
slider (papermill, a report) the chart of all ways of retrying is shown in its place.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd

from intercom_kit.analyze import whatif
from intercom_kit.analyze.study import Study
from intercom_kit.analyze.whatif import POLICY_WORDS
from intercom_kit.display import person_asks
from intercom_kit.display.charts import BLUE, GREY, VERMILION, Chart, kept_points, new_axes, utc_axis
from intercom_kit.display.charts_log import what_if
from intercom_kit.protocol import WINDOW_S

if TYPE_CHECKING:
    from ipywidgets import Widget

BUCKET: str = "token_bucket"


@dataclass(frozen=True, eq=False)
class Panel:
    """The what-if of one study: shown by a cell, controls above a chart that follows them."""

    seen: Study

    @cached_property
    def start_rate(self) -> int:
        """The token bucket's rate to begin with, calls a second: the study's, or what its limit suggests."""
        limit = self.seen.arrivals["limit"].max() / WINDOW_S
        return max(1, round(self.seen.bucket_rate or limit * whatif.BUCKET_SHARE))

    @cached_property
    def wanted(self) -> pd.DataFrame:
        """The calls that wanted through in the throttled span: each sent once."""
        return whatif.replay(self.seen.arrivals, "none")[0]

    def draw(self, policy: str, rate: float) -> Chart:
        """Return what one policy would have sent and met; rate: calls a second of each app's token bucket."""
        replayed, outcome = whatif.replay(self.seen.arrivals, policy, rate=rate)
        words = POLICY_WORDS[policy] + (f", {rate:g} calls a second" if policy == BUCKET else "")
        figure, axes = new_axes(f"What if: {words}")
        figure.set_layout_engine(None)  # finding out the margins would double the time of a redraw
        figure.subplots_adjust(left=0.12, right=0.97, top=0.9, bottom=0.3)
        utc_axis(axes)
        for frame, column, label, colour, dash in (
            (self.wanted, "sent", "calls that wanted through", GREY, ":"),
            (replayed, "sent", "sent, retries included", BLUE, "-"),
            (replayed, "throttled", "429s", VERMILION, "--"),
        ):
            kept = frame.iloc[kept_points(frame[column].to_numpy(float))]
            axes.plot(kept["window_start"], kept[column], color=colour, linewidth=1.2, linestyle=dash, label=label)
        axes.set(ylim=(0, None), ylabel="calls in a 10-second window")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        figure.legend(loc="lower center", ncols=3, frameon=False, fontsize=9)
        first, last = replayed["window_start"].iloc[0], replayed["window_start"].iloc[-1]
        most = f"wanted {self.wanted['sent'].max():,.0f}, sent {replayed['sent'].max():,.0f}"
        alt = (
            f"Line chart, x: time from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, y: calls in a window; "
            f"at most {most}, 429s {replayed['throttled'].max():,.0f}."
        )
        return Chart(figure, f"What if: {words}", _caption(words, outcome.iloc[0]), alt)

    def controls(self, name: str) -> "Widget":
        """Return the controls; each change draws the output of that display id again."""
        import ipywidgets
        from IPython.display import update_display

        wide = {"style": {"description_width": "11em"}, "layout": {"width": "44em", "max_width": "100%"}}
        policies = [(words, policy) for policy, words in POLICY_WORDS.items()]
        policy = ipywidgets.Dropdown(options=policies, value=BUCKET, description="Way of retrying", **wide)
        rate = ipywidgets.IntSlider(
            self.start_rate, 1, 3 * self.start_rate, description="Limit, calls a second", **wide
        )

        def redraw(_change: Any) -> None:  # noqa: ANN401 - traitlets'
            rate.disabled = policy.value != BUCKET  # the other ways know no limit
            update_display(self.draw(policy.value, rate.value), display_id=name)

        for control in (policy, rate):
            control.observe(redraw, "value")
        return ipywidgets.VBox([policy, rate])

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if self.seen.what_if.empty or not person_asks():
            display(what_if(self.seen))
            return
        name = uuid4().hex
        display(self.controls(name))
        display(self.draw(BUCKET, self.start_rate), display_id=name)


def _caption(words: str, outcome: Any) -> str:  # noqa: ANN401 - a row
    recorded = outcome["throttled"] + outcome["avoided"]
    met = f"{outcome['throttled']:,}" if outcome["throttled"] else "no"
    lost = f"{outcome['lost']:,} calls given up after {whatif.GIVE_UP_S} s" if outcome["lost"] else "no call given up"
    return (
        f"{words[0].upper()}{words[1:]}: {met} 429s instead of {recorded:,}; half of the calls "
        f"delayed by at most {outcome['delay_p50_s']:.0f} s, 99 % by at most {outcome['delay_p99_s']:.0f} s; {lost}."
    )
