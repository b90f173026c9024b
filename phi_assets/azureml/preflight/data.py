"""Whether the data can be trained on, as far as its first rows tell."""

from phi_assets.azureml.preflight.findings import Findings
from phi_assets.dataset.samples.first_look import DataLook

_CLOSER = "`python -m phi_assets validate` reads and judges all of its rows."


def judge_data(look: DataLook | None, found: Findings) -> None:
    """The source is reachable, has the splits, and its first rows become conversations that keep the contract."""
    if look is None:
        return
    found.looked_at.append("data")
    found.facts["data"] = f"{look.source}: {look.unknown}" if look.unknown else look.source
    found.facts |= {f"data/{each.name}": each.in_words for each in look.splits}
    subject = f"Data of {look.source}"
    for problem in look.problems:
        code = "data_unusable" if look.splits else "data_unreachable"
        found.error("data", code, subject, f"cannot be used: {problem.rstrip('.')}", _CLOSER)
    for warning in look.warnings:
        found.warning("data", "data_doubtful", subject, f"may not do: {warning}", _CLOSER)
