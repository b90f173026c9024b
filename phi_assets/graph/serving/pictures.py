"""Pictures of a rollout."""

from collections.abc import Sequence

from phi_assets.azureml.serving.rollout import Step
from phi_assets.graph.rendering import as_markdown, new_figure


def traffic_timeline(steps: Sequence[Step]) -> str:
    """Markdown of one PNG: each deployment's share of the traffic during a rollout, dotted where it is mirrored.

    A step is on record at the end of the time for which its traffic lasted.
    """
    figure, axes = new_figure()
    times = [0.0, *(step.seconds for step in steps)]

    def draw(name: str, shares: Sequence[int], style: str) -> None:
        axes.plot(times, [shares[0], *shares], style, drawstyle="steps-pre", linewidth=2, label=name)

    for name in sorted({name for step in steps for name in step.live}):
        draw(name, [step.live.get(name, 0) for step in steps], "-")
    for name in sorted({name for step in steps for name in step.mirror}):
        draw(f"{name}, mirrored", [step.mirror.get(name, 0) for step in steps], ":")
    axes.set_xlabel("seconds")
    axes.set_ylabel("traffic, %")
    axes.set_ylim(-3, 103)
    axes.grid(alpha=0.3)
    axes.legend()
    return as_markdown(figure, "traffic over time")
