"""What a failed scoring request means: whether asking again may help, how often, and what its reader does next."""

import httpx

from phi_assets.azureml.connection.errors import ModelFailed, ScoringFailed
from phi_assets.azureml.connection.retry import one_line

MODEL_STATUS_HEADER = "ms-azureml-model-error-statuscode"
MODEL_REASON_HEADER = "ms-azureml-model-error-reason"

_REPEATS = {
    # The model was too slow, and the next time it may be; every try may take three minutes.
    408: 1,
    # The model itself failed, which a good one does for once only.
    424: 2,
    # There is room again as soon as others have their answers.
    429: 8,
    # An instance is starting, being replaced or out of sight.
    502: 6,
    503: 6,
    504: 6,
}
_REPEATS_WITHOUT_ANSWER = 4

_OF_THE_REQUEST = frozenset({400, 408, 413, 422, 424})
"""What the service answers where it is the prompt that the model fails at; another one may be answered."""

# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
_ADVICE = {
    401: "The credential was renewed meanwhile, or is not this endpoint's; run again.",
    403: "This identity may not score; it needs a role with the action onlineEndpoints/score on the endpoint.",
    404: "No deployment gets traffic, or there is none of this name; materialize live_traffic.",
    408: "The model took longer than `serving.request_timeout_seconds`; raise it or lower `scoring.max_new_tokens`.",
    424: "The model itself failed; its log has the reason.",
    429: "More requests than the deployment takes at once; raise `serving.max_concurrent_requests` or "
    "`serving.instance_count`.",
    503: "The deployment's process is not there; its log has the reason.",
}
_REFUSED = (
    "The model refuses the prompt; its log has the reason. For one that is too long, set `contract.context_tokens` to "
    "the model's context, or lower `max_new_tokens`."
)


def repeats(error: BaseException | None) -> int:
    """How many more times a request may be sent that failed like this; 0 where asking again cannot help."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return 0 if status == 424 and _has_refused(error.response) else _REPEATS.get(status, 0)
    if isinstance(error, httpx.ReadTimeout):
        return _REPEATS[408]
    return _REPEATS_WITHOUT_ANSWER if isinstance(error, httpx.TransportError) else 0


def reason(error: BaseException | None) -> str:
    """The status and the reason that the service or the model gives, in one line."""
    if not isinstance(error, httpx.HTTPStatusError):
        return one_line(error)
    response = error.response
    model = response.headers.get(MODEL_REASON_HEADER)
    status = response.headers.get(MODEL_STATUS_HEADER)
    detail = f"{model} (model status {status})" if model else " ".join(response.text[:300].split())
    return f"{response.status_code} {detail}".strip()


def failure(uri: str, error: httpx.HTTPStatusError | httpx.RequestError) -> ScoringFailed:
    """The error for people: what was asked, what came back, and what to do."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        kind = ModelFailed if status in _OF_THE_REQUEST else ScoringFailed
        advice = _REFUSED if status == 424 and _has_refused(error.response) else _ADVICE.get(status, "")
        return kind(f"{uri} answered {reason(error)}. {advice}".strip())
    if isinstance(error, httpx.ReadTimeout):
        return ModelFailed(f"{uri} did not answer in time. {_ADVICE[408]}")
    return ScoringFailed(f"{uri} cannot be reached: {reason(error)}")


def _has_refused(response: httpx.Response) -> bool:
    """Whether the model says that the request itself is wrong, so that it would say so again."""
    status = response.headers.get(MODEL_STATUS_HEADER, "")
    return status.startswith("4") and status not in ("408", "429")
