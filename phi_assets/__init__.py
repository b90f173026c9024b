"""A Dagster asset graph that fine-tunes, registers, deploys and scores a chat model on Azure Machine Learning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phi_assets.components import FineTune

__all__ = ["FineTune"]


def __getattr__(name: str) -> Any:
    # The emulator and its steps are processes of their own, which never need Dagster.
    if name in __all__:
        from phi_assets import components

        return getattr(components, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
