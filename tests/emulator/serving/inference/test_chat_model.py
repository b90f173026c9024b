"""A deployment of a real, randomly initialised Phi-3 in the folder format of the fine-tuning pipeline."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.emulator.components.tiny_model import save_base_model
from tests.emulator.serving.conftest import deploy, ml, set_traffic
from tests.emulator.serving.echo import ask

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace


@pytest.mark.slow
def test_a_chat_model_is_served(workspace: "Workspace", endpoint: str, front: httpx.Client, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model, OnlineRequestSettings

    name = f"chat-{uuid.uuid4().hex[:8]}"
    folder = save_base_model(tmp_path)
    registered = ml(workspace).models.create_or_update(Model(name=name, path=str(folder), type="mlflow_model"))
    settings = OnlineRequestSettings(request_timeout_ms=90_000, max_concurrent_requests_per_instance=8)
    deploy(workspace, endpoint, str(registered.id), "demo", request_settings=settings)
    set_traffic(workspace, endpoint, demo=100)

    greedy = ask("The ball is red. Which colour has the ball?", do_sample=False, max_new_tokens=16)
    answer = front.post("/score", json=greedy)
    assert answer.status_code == 200, answer.text
    (record,) = answer.json()
    assert isinstance(record["0"], str)

    seeded = ask("one", "two", temperature=0.6, top_p=0.9, do_sample=True, max_new_tokens=12, seed=7)
    assert front.post("/score", json=seeded).json() == front.post("/score", json=seeded).json()

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: front.post("/score", json=greedy), range(16)))
    assert [other.json() for other in together] == [answer.json()] * 16
    log = ml(workspace).online_deployments.get_logs("demo", endpoint, lines=16)
    assert any(f"of a batch of {size}" in log for size in range(2, 17)), log

    bad = front.post("/score", json=ask("x", temperature="hot"))
    assert bad.status_code == 424
    assert "parameter 'temperature' is 'hot'" in bad.json()["error"]["message"]
    long = front.post("/score", json=ask("a word and " * 200))
    assert long.status_code == 424
    assert "context is 128" in long.json()["error"]["message"]
