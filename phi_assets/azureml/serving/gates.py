"""What a new deployment has to show: that it answers at all, and that it does so no worse than the old one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import httpx

from phi_assets.azureml.connection.errors import ScoringFailed
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.scoring.client import ScoringClient
from phi_assets.config.recipe import RolloutSection
from phi_assets.evaluation.quality import answer_problem

_MOST_FAILURES = 2
"""Failed requests after which nothing more is asked: each has been repeated for a while already."""

_LATENCY_FLOOR_SECONDS = 0.1
"""What is faster counts as this fast: such differences are the network's and the machine's, not the model's."""

# The shape of a conversation that every chat client sends sooner or later.
_CONTRACT = (
    {"role": "user", "content": "Good morning!"},
    {"role": "assistant", "content": "Good morning! How can I help you?"},
)


@dataclass(frozen=True)
class Reply:
    """What became of one prompt."""

    prompt: str
    text: str
    seconds: float | None
    """None where there was no answer."""
    problem: str = ""
    """What is wrong with it; empty where nothing is."""
    is_unreached: bool = False
    """There was no connection to ask on, which says nothing of the deployment."""


@dataclass(frozen=True)
class SmokeReport:
    """What a deployment answered, past the traffic rules, before it may get traffic."""

    deployment: str
    replies: tuple[Reply, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it must not serve; empty where it may."""
    fate: str = ""
    """What became of it, or why it was not asked: one sentence."""
    container_log: str = ""
    """The last lines of its container, where a prompt was not answered."""

    @property
    def passed(self) -> bool:
        """Whether it may get traffic."""
        return not self.reasons

    @property
    def summary(self) -> str:
        """What a person reads first."""
        if self.passed:
            return self.fate or f"{len(self.replies)} prompts answered."
        failed = f"Deployment {self.deployment} fails the smoke gate: {'; '.join(self.reasons)}. {self.fate}"
        return f"{failed}\n{self.container_log}" if self.container_log else failed

    def ending(self, fate: str, container_log: str = "") -> "SmokeReport":
        """The report, once it is known what became of the deployment."""
        return replace(self, fate=fate, container_log=container_log)


@dataclass(frozen=True)
class Comparison:
    """What the old and the new deployment answered to the same prompts, one after the other."""

    old: str
    new: str
    old_replies: tuple[Reply, ...]
    new_replies: tuple[Reply, ...]
    reasons: tuple[str, ...]
    """Why the new one is worse; empty where it is not."""

    @property
    def passed(self) -> bool:
        """Whether the new one may get more of the traffic."""
        return not self.reasons

    @property
    def seconds(self) -> tuple[float, float] | None:
        """Median answer of the old and of the new one, over the prompts that both answered; None where none is."""
        return paired_medians(self.old_replies, self.new_replies)


def smoke_test(client: ScoringClient, deployment: str, section: RolloutSection, log: Log = silent) -> SmokeReport:
    """The deployment has been asked a conversation of several turns, which is the contract, and then its prompts.

    It fails for an answer to the first that is none, for more problems than the recipe allows, and for an answer that
    takes longer than the recipe allows. The first request warms the model up; its time does not count.
    """
    first, *prompts = section.chosen_prompts("smoke")
    contract = _ask(client, [*_CONTRACT, {"role": "user", "content": first}], deployment, section)
    if contract.seconds is None:
        return SmokeReport(deployment, (contract,), (f"the payload contract is broken: {contract.problem}",))
    replies = _ask_all(client, [first, *prompts], deployment, section)
    reasons = [*_problem_reasons(replies, section.max_problems), *_slowness(replies, section)]
    log(f"Smoke gate of {deployment}: {'; '.join(reasons) or 'passed'}.")
    return SmokeReport(deployment, (contract, *replies), tuple(reasons))


def compare(
    client: ScoringClient, old: str, new: str, section: RolloutSection, *, occasion: str, share: int
) -> Comparison:
    """Both deployments have been asked the same prompts in turn, so that both met the same conditions.

    The new one is worse where more of its answers have problems than the recipe allows beyond the old one's, or where
    its median answer takes too long. That is compared with the old one's only while `share`, the new one's part of the
    traffic in percent, is no larger than the old one's: a deployment without load is always the faster one.
    """
    prompts = section.chosen_prompts(occasion)
    old_replies: list[Reply] = []
    new_replies: list[Reply] = []
    sides = [(old, old_replies), (new, new_replies)]
    for number, prompt in enumerate(prompts):
        for name, replies in sides if number % 2 else reversed(sides):
            if _failures(replies) < _MOST_FAILURES:
                replies.append(_ask(client, [{"role": "user", "content": prompt}], name, section))
    allowed = section.max_problems + sum(bool(reply.problem) for reply in old_replies)
    reasons = _problem_reasons(new_replies, allowed)
    medians = paired_medians(old_replies, new_replies)
    if medians is not None:
        reasons += _slower(medians, section, comparable=share <= 50)
    return Comparison(old, new, tuple(old_replies), tuple(new_replies), tuple(reasons))


def paired_medians(old: Sequence[Reply], new: Sequence[Reply]) -> tuple[float, float] | None:
    """Median seconds of both over the prompts that both answered; None where there is no such prompt."""
    pairs = [(a.seconds, b.seconds) for a, b in zip(old, new, strict=False)]
    answered = [(a, b) for a, b in pairs if a is not None and b is not None]
    return (median(a for a, _ in answered), median(b for _, b in answered)) if answered else None


def _ask_all(client: ScoringClient, prompts: Sequence[str], deployment: str, section: RolloutSection) -> list[Reply]:
    replies: list[Reply] = []
    for prompt in prompts:
        if _failures(replies) < _MOST_FAILURES:
            replies.append(_ask(client, [{"role": "user", "content": prompt}], deployment, section))
    return replies


def _ask(client: ScoringClient, conversation: list[dict[str, str]], deployment: str, section: RolloutSection) -> Reply:
    prompt = conversation[-1]["content"]
    (answer,) = client.try_each([conversation], section.parameters(), deployment=deployment)
    if isinstance(answer, ScoringFailed):
        return Reply(prompt, "", None, str(answer), _is_unreached(answer.__cause__))
    return Reply(prompt, answer.text, answer.seconds, answer_problem(answer.text) or "")


def _is_unreached(cause: BaseException | None) -> bool:
    # Who reads in vain has been let in, and waits for the model.
    return isinstance(cause, httpx.TransportError) and not isinstance(cause, httpx.ReadTimeout)


def has_failures(replies: Sequence[Reply]) -> bool:
    """Whether a prompt was not answered, so that the container's log has more to say."""
    return _failures(replies) > 0


def _failures(replies: Sequence[Reply]) -> int:
    return sum(reply.seconds is None for reply in replies)


def _problem_reasons(replies: Sequence[Reply], allowed: int) -> list[str]:
    wrong = [reply for reply in replies if reply.problem]
    if len(wrong) <= allowed:
        return []
    first = wrong[0]
    return [f"{len(wrong)} of {len(replies)} answers are wrong ({first.prompt!r}: {first.problem})"]


def _slowness(replies: Sequence[Reply], section: RolloutSection) -> list[str]:
    slowest = max((reply.seconds for reply in replies if reply.seconds is not None), default=0.0)
    if slowest <= section.max_latency_seconds:
        return []
    return [f"an answer took {slowest:.1f} s, and `rollout.max_latency_seconds` is {section.max_latency_seconds:g}"]


def _slower(medians: tuple[float, float], section: RolloutSection, *, comparable: bool) -> list[str]:
    old, new = (max(seconds, _LATENCY_FLOOR_SECONDS) for seconds in medians)
    if comparable and new > section.max_latency_ratio * old:
        return [
            f"its median answer takes {new:.2f} s instead of {old:.2f} s, {new / old:.1f} times as long; "
            f"`rollout.max_latency_ratio` is {section.max_latency_ratio:g}"
        ]
    if new > section.max_latency_seconds:
        return [
            f"its median answer takes {new:.1f} s; `rollout.max_latency_seconds` is {section.max_latency_seconds:g}"
        ]
    return []
