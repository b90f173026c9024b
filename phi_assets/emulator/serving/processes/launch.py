"""What the process of a deployment is made of: a model's folder and an environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi_assets.emulator.serving.inference.flavours import MLFLOW, Flavour
from phi_assets.emulator.serving.rules import worker_count
from phi_assets.processes import inherited

_IMPOSED = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "PYTHONUNBUFFERED": "1",
    # The model's folder is the registered model: byte code of its loader must not be added to it.
    "PYTHONDONTWRITEBYTECODE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# Two threads per worker were 3.3 times slower than one for a small model on two busy cores.
_DEFAULTS = {"OMP_NUM_THREADS": "1"}
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Launch:
    """What a deployment's process is made of; two equal ones behave alike."""

    folder: str
    environment: dict[str, str]
    flavour: Flavour = MLFLOW
    """How it answers, unless a script of its own does."""
    code: str | None = None
    """Folder of the deployment's own code."""
    script: str | None = None
    """The scoring script in it."""

    @property
    def worker_count(self) -> int:
        """How many processes share the deployment's requests."""
        return worker_count(self.environment)

    @property
    def requirements(self) -> list[str]:
        """Names of the packages that the model says it needs."""
        path = Path(self.folder) / "requirements.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        return [found[0].lower() for found in map(_PACKAGE.match, lines) if found]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Launch":
        """Reads what `document` wrote."""
        # Deployments that were made before there were two have none.
        flavour = document.get("flavour", MLFLOW)
        code, script = document.get("code"), document.get("script")
        return cls(document["folder"], dict(document["environment"]), flavour, code, script)

    def document(self) -> dict[str, Any]:
        """As kept in the state."""
        return asdict(self)

    def process_environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Environment variables of the process: what it needs of `ours`, plus the deployment's own."""
        given = {"AZUREML_MODEL_DIR": self.folder}
        if self.code is not None and self.script is not None:
            given |= {"AML_APP_ROOT": self.code, "AZUREML_ENTRY_SCRIPT": self.script}
        environment = _DEFAULTS | inherited(ours) | given | self.environment | _IMPOSED
        package_root = str(Path(__file__).parents[4])
        path = [package_root, *filter(None, [environment.get("PYTHONPATH")])]
        return environment | {"PYTHONPATH": os.pathsep.join(path)}
