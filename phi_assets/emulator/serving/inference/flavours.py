"""How a deployment answers: as Azure ML's server for MLflow models, or as its container for foundation models.

Both take the same requests. The second answers only the first conversation of a request, and hides what goes wrong
behind status 200: `api_server.py` (`score`, `send_request`) and `engine/vllm_engine.py` (`_generate_single_prompt`) of
the package llm-optimized-inference, alike from 0.2.16 to 0.2.61.
"""

from pathlib import Path
from typing import Any, Literal

import yaml

from phi_assets.emulator.serving.inference.payload import NotJson, render_answers

Flavour = Literal["mlflow", "foundation-model-inference"]

MLFLOW: Flavour = "mlflow"
FOUNDATION: Flavour = "foundation-model-inference"

BASE_IMAGE = "azureml.base_image"
"""Of the metadata in MLmodel: the image that the service deploys such a model with."""

Reply = tuple[int, Any]
"""Status and JSON content."""


class ModelFailure(Exception):
    """The model raised, or returned something that cannot be matched to the conversations."""

    status = 500


def flavour_of(folder: Path) -> Flavour:
    """Which of the two the model's own `MLmodel` asks for."""
    document: Any = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    image = str(((document or {}).get("metadata") or {}).get(BASE_IMAGE) or "")
    return FOUNDATION if f"/{FOUNDATION}:" in f"/{image}:" else MLFLOW


def answered(flavour: Flavour, answers: list[Any]) -> Reply:
    """What is said to the conversations of a request."""
    return 200, {"output": f"{answers[0]}"} if flavour == FOUNDATION else render_answers(answers)


def failed(flavour: Flavour, error: Exception) -> Reply:
    """What is said where there is no answer: `error` is the model's refusal (ValueError), or has a `status`."""
    if flavour == MLFLOW:
        return getattr(error, "status", 400), {"error": {"message": str(error)}}
    if isinstance(error, NotJson):
        return 500, {"error": {"message": f"An error occurred during the request processing: {error}"}}
    # Whatever the engine answers but 200, for a prompt that is too long for instance, is the text of no answer. A
    # request that never gets as far as the engine, and one over which it raises, is an empty object.
    return 200, {"output": "None"} if isinstance(error, Refusal) else {}


class Refusal(ValueError):
    """The model does not take the request: a parameter is wrong, or a conversation is longer than its context."""
