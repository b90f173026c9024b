"""The package azureml-mlflow, as far as the SDK looks for it: `azure/ai/ml/entities/_workspace/workspace.py`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PACKAGE = '''
def get_mlflow_tracking_uri_v2(workspace, service_context):
    """As azureml-mlflow 1.62 does with MLflow 2 and 3."""
    return workspace.ml_flow_tracking_uri.replace("/mlflow/v1.0", "/mlflow/v2.0")
'''


@contextmanager
def azureml_mlflow(folder: Path) -> Iterator[None]:
    """It is installed in the block, in this folder."""
    package = folder / "azureml" / "mlflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_PACKAGE)
    with pytest.MonkeyPatch.context() as patch:
        _forget()
        patch.syspath_prepend(folder)
        yield
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name in ("azureml", "azureml.mlflow")]:
        del sys.modules[name]
