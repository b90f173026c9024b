"""Answers calls of the hub source, each in a process of its own that reads its environment anew.

A copy of a process that has made the imports which take long and do not look at the hub's variables: two seconds less
for each call. A request is a line of JSON, and so is its answer.
"""

import gc
import json
import os
import resource
import sys
import unittest.mock  # noqa: F401
import xml.dom.minidom  # noqa: F401
from pathlib import Path
from typing import Any

import aiohttp  # noqa: F401
import dill  # noqa: F401
import fsspec.implementations.local  # noqa: F401
import httpcore2  # noqa: F401
import httpx2  # noqa: F401
import multiprocess.pool  # noqa: F401
import numpy  # noqa: F401
import orjson  # noqa: F401
import pandas  # noqa: F401
import pyarrow.dataset
import pyarrow.json
import pyarrow.parquet  # noqa: F401
import pydantic  # noqa: F401
import requests  # noqa: F401
import tqdm.contrib.concurrent  # noqa: F401
import truststore  # noqa: F401
import xxhash  # noqa: F401
import yaml  # noqa: F401

from phi_assets.config.dataset import DatasetSection
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract.tokenizers import model_tokenizer
from phi_assets.dataset.samples.first_look import look_at_data
from phi_assets.dataset.sources import hub_client
from phi_assets.dataset.sources.raw_splits import fetch_split, latest_revision


def answers(attempts: int, data_dir: str, calls: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """What `fetch_split(section, split, ...)` answers for each call: `latest_revision` where no split is named, and a
    look at the first rows for the split `look`, and the tokenizer of the repository for `tokenizer`."""
    import huggingface_hub.constants

    # The client keeps whole pieces of this size; what a test can afford to download is smaller than its own.
    huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000
    hub_client._FIRST_WAIT_SECONDS = 0.01
    hub_client._LONGEST_WAIT_SECONDS = 0.1
    hub_client.ATTEMPTS = attempts
    if limit := int(os.environ.get("LARGEST_FILE", "0")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    found = []
    for split, values in calls:
        section, log = DatasetSection(**values), list[str]()
        answer: Any
        try:
            answer = None if split == "tokenizer" else latest_revision(section, longest_pause_seconds=60)
            if split == "look":
                look = look_at_data(Recipe(name="mine", dataset=section), section, Path(data_dir), log.append)
                words = {each.split: each.in_words for each in look.splits}
                answer = {"splits": words, "problems": look.problems, "warnings": look.warnings}
            elif split == "tokenizer":
                recipe = Recipe.model_validate({"name": "mine", "contract": {"tokenizer_repo": section.repo}})
                found_one = model_tokenizer(recipe, Path(data_dir), log.append)
                answer = str(found_one.path) if found_one else None
            elif split:
                answer = fetch_split(section, split, Path(data_dir), log.append).model_dump()
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        found.append({"answer": answer, "log": log, "datasets": "datasets" in sys.modules})
    return found


def main() -> None:
    """Serves until the end of its input."""
    assert "huggingface_hub" not in sys.modules, "the hub's variables would have been read already"
    gc.freeze()  # what the copies share stays shared
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        if not (child := os.fork()):
            os.close(reader)
            os.environ.update(request.pop("env"))
            with os.fdopen(writer, "w") as pipe:
                json.dump(answers(**request), pipe)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        print(text or "null", flush=True)


if __name__ == "__main__":
    main()
