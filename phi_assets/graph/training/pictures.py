"""Pictures of the training."""

from collections.abc import Mapping, Sequence

from phi_assets.azureml.training.metrics import MetricPoint
from phi_assets.graph.rendering import as_markdown, new_figure


def loss_curve(curves: Mapping[str, Sequence[MetricPoint]]) -> str:
    """Markdown of one PNG: training loss over steps as a line, evaluation loss as points, learning rate behind them."""
    rates = curves.get("learning_rate")
    figure, axes = new_figure(right=4 if rates else 0)
    if rates:
        behind = axes.twinx()
        behind.plot([point.step for point in rates], [point.value for point in rates], ":", color="gray")
        behind.set_ylabel("learning rate (dotted)", color="gray")
        behind.ticklabel_format(axis="y", scilimits=(-2, 2))
        behind.set_ylim(bottom=0)
    for name, style in (("loss", "-"), ("eval_loss", "o--")):
        points = curves.get(name, ())
        if points:
            axes.plot([point.step for point in points], [point.value for point in points], style, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return as_markdown(figure, "loss curve")
