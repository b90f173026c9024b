"""What a scoring endpoint tells about itself."""

from typing import Any

from phi_assets.emulator.serving.inference.payload import ROLES


def document_of(endpoint: str, scoring_uri: str) -> dict[str, Any]:
    """The endpoint's OpenAPI document: the request and answer of `payload.py`."""
    message = {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"type": "string", "enum": list(ROLES)}, "content": {"type": "string"}},
    }
    conversation = {"type": "array", "items": message, "minItems": 1}
    input_data = {
        "type": "object",
        "required": ["input_string"],
        "properties": {
            "input_string": {"oneOf": [conversation, {"type": "array", "items": conversation, "minItems": 1}]},
            "parameters": {"type": "object"},
        },
    }
    request = {
        "type": "object",
        "required": ["input_data"],
        "properties": {"input_data": input_data, "params": {"type": "object"}},
    }
    of_mlflow = {"type": "array", "items": {"type": "object", "properties": {"0": {"type": "string"}}}}
    of_foundation_container = {"type": "object", "properties": {"output": {"type": "string"}}}
    answer = {"oneOf": [of_mlflow, of_foundation_container]}
    operation = {
        "operationId": "score",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {"200": {"description": "Answers", "content": {"application/json": {"schema": answer}}}},
        "security": [{"bearer": []}],
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": endpoint, "version": "1.0"},
        "servers": [{"url": scoring_uri.removesuffix("/score")}],
        "paths": {"/score": {"post": operation}},
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }
