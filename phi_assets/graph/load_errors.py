"""What the UI shows of a code location that cannot be loaded because of what somebody wrote."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo

from phi_assets.config.recipe_files import RecipeError
from phi_assets.config.settings import SettingsError


@contextmanager
def in_one_message() -> Iterator[None]:
    """Settings or recipes that cannot be used are one message in the UI and in the log of the code server.

    Dagster adds a stack to whatever is raised while it loads, but for an error that comes from elsewhere as a whole.

    Raises:
        DagsterUserCodeProcessError: in place of a `SettingsError` or a `RecipeError`, which is its cause.
    """
    try:
        yield
    except (SettingsError, RecipeError) as error:
        told = SerializableErrorInfo(message=f"{error}\n", stack=[], cls_name=type(error).__name__)
        raise DagsterUserCodeProcessError(str(error), user_code_process_error_infos=[told]) from error
