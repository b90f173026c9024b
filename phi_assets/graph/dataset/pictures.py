"""Pictures of the data."""

from phi_assets.dataset.reports.report import Profile
from phi_assets.graph.rendering import as_markdown, new_figure

_INSIDE, _BEYOND = "#4f6bed", "#d1495b"

_MARGIN = 1.5
"""A context beyond so many times the end of the last bar is named, not drawn: the bars would vanish."""


def token_histogram(profile: Profile) -> str:
    """Markdown of one PNG: conversations by their length in tokens, with the model's context as a line.

    What is longer than the context is red, and the title says which share it is: training truncates it. A last bin that
    is wider than the others is drawn as wide as they are, and says how far it goes.
    """
    edges, counts, context = profile.histogram.edges, profile.histogram.counts, profile.context_tokens
    figure, axes = new_figure(len(f"{1.2 * max(1, *counts):,.0f}"), title=True)
    width = edges[1] - edges[0]
    overflows = edges[-1] - edges[-2] > _MARGIN * width
    end = edges[-2] + width if overflows else edges[-1]
    for left, right, count, beyond in zip(edges, [*edges[1:-1], end], counts, _beyond(profile), strict=False):
        axes.bar(left, count - beyond, right - left, align="edge", color=_INSIDE)
        if overflows and left == edges[-2] and left < context < edges[-1]:
            # Nothing in this bin that is red is shorter than the context.
            end = max(end, context) + width
            axes.bar(end - width, beyond, width, align="edge", color=_BEYOND)
        else:
            axes.bar(left, beyond, right - left, bottom=count - beyond, align="edge", color=_BEYOND)
    if overflows:
        axes.annotate(f"to {edges[-1]:,.0f} →", (end, counts[-1]), ha="right", va="bottom", fontsize=8)
    if context <= _MARGIN * end:
        axes.axvline(context, color=_BEYOND, linestyle="--", label=f"context, {context:,} tokens")
        axes.legend(loc="upper right")
    else:
        note = f"context, {context:,} tokens →"
        axes.annotate(note, (0.98, 0.95), xycoords="axes fraction", ha="right", va="top", color=_BEYOND)
    what = "conversation" if profile.rows == 1 else "conversations"
    axes.set_title(f"{profile.truncated_share:.2%} of {profile.rows:,} {what} will be truncated", fontsize=10)
    # A dollar would begin a formula.
    counter = profile.token_counter.replace("$", r"\$")
    axes.set_xlabel(f"tokens in a conversation ({counter})")
    axes.set_ylabel("conversations")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.2 * max(1, *counts))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return as_markdown(figure, "tokens in a conversation")


def _beyond(profile: Profile) -> list[int]:
    """How many conversations in each bin are longer than the context, which may lie within one."""
    edges, counts, context = profile.histogram.edges, profile.histogram.counts, profile.context_tokens
    found, left = [0] * len(counts), profile.truncated_rows
    for place in reversed(range(len(counts))):
        if edges[place + 1] > context:
            found[place] = min(counts[place], left)
            left -= found[place]
    return found
