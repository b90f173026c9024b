"""The one import of `azure.ai.ml`, made when it is needed, and kept quiet."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

EMULATOR_CLOUD_PREFIX = "PhiEmulator"

CLOUD_VARIABLE = "AZUREML_CURRENT_CLOUD"


def sdk() -> ModuleType:
    """The module `azure.ai.ml`, imported on first use: it takes seconds, and its import reads the environment.

    A cloud name that another process registered and left in the environment makes that import fail
    (`Unknown cloud environment`), so an emulator's name is removed first. The names of Azure's own clouds are kept.
    """
    # A blank, since git is asked for an empty one: the remote's address, which may hold a credential, would become a
    # property of each job (https://learn.microsoft.com/azure/machine-learning/concept-train-model-git-integration).
    os.environ.setdefault("AZUREML_GIT_REPOSITORY_URI", " ")
    is_first = "azure.ai.ml" not in sys.modules
    if is_first:
        forget_emulator_cloud()
        os.environ.setdefault("AZUREML_RUN_POLLING_INTERVAL_MIN", "1")
        os.environ.setdefault("AZUREML_RUN_POLLING_INTERVAL_MAX", "30")
        from marshmallow.warnings import Marshmallow4Warning

        warnings.filterwarnings("ignore", category=Marshmallow4Warning)
    import azure.ai.ml

    if is_first:
        # "This is an experimental class" on every use. The import itself sets the level, so this comes after it.
        logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
    return azure.ai.ml


def forget_emulator_cloud() -> None:
    """The environment names no emulator's cloud."""
    if os.environ.get(CLOUD_VARIABLE, "").startswith(EMULATOR_CLOUD_PREFIX):
        del os.environ[CLOUD_VARIABLE]


class _Silence:
    """Both standard streams lead nowhere while at least one thread wants it so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0

    def begin(self) -> None:
        with self._lock:
            self._wanted += 1
            if self._wanted == 1:
                self._sink = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until `end`
                self._streams = sys.stdout, sys.stderr
                sys.stdout = sys.stderr = self._sink

    def end(self) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted == 0:
                sys.stdout, sys.stderr = self._streams
                self._sink.close()


_silence = _Silence()


@contextmanager
def without_sdk_chatter() -> Iterator[None]:
    """Keeps what the SDK prints while it uploads and polls (dots, coloured blank lines) off the standard streams.

    It offers no switch for that. The streams are the process's, so other threads are silent meanwhile. Errors are
    raised as ever; loggers keep the stream that they were made with.
    """
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()
