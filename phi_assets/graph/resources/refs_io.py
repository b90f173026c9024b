"""Refs between assets as small JSON files, readable by people and by any other process."""

import dagster as dg
from pydantic import Field, ValidationError
from upath import UPath

from phi_assets.refs import Ref

_PROBLEMS_SHOWN = 3


class RefIOManager(dg.ConfigurableIOManager):
    """Stores each asset's latest ref as `<base>/<asset key>.json`; `base` is a local path or any fsspec URL."""

    base: str = Field(description="Folder of the refs: a local path, or for example abfss://container@account/refs")

    def handle_output(self, context: dg.OutputContext, obj: Ref) -> None:
        """Write the ref; a reader sees the old file or the new one, never half of one."""
        path = self._path(context.asset_key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.protocol in ("", "file"):
            partial = path.with_name(f".{path.name}.{context.run_id}")
            partial.write_text(obj.model_dump_json(indent=2), encoding="utf-8")
            partial.rename(path)
        else:
            path.write_text(obj.model_dump_json(indent=2), encoding="utf-8")

    def load_input(self, context: dg.InputContext) -> Ref:
        """Read the upstream asset's ref.

        Raises:
            dagster.Failure: the upstream asset has never been materialized with this storage, or what it recorded is
                no ref that this version can read.
        """
        path = self._path(context.asset_key)
        asset = context.asset_key.to_user_string()
        if not path.exists():
            raise dg.Failure(
                description=f"Asset {asset} has no recorded value at {path}: "
                "materialize it first, or point PHI_STORAGE at the folder where it was materialized",
                allow_retries=False,
            )
        kind: type[Ref] = context.dagster_type.typing_type
        try:
            return kind.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise dg.Failure(
                description=f"The value of asset {asset} at {path} is not a {kind.__name__} that this version can read "
                f"({_problems(error)}): materialize {asset} again",
                allow_retries=False,
            ) from error

    def _path(self, key: dg.AssetKey) -> UPath:
        return UPath(self.base).joinpath(*key.path[:-1], f"{key.path[-1]}.json")


def _problems(error: ValidationError) -> str:
    """What is wrong, without the values: `gpus: Field required`."""
    lines = [
        ": ".join(filter(None, [".".join(map(str, problem["loc"])), problem["msg"]]))
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "; ".join(lines[:_PROBLEMS_SHOWN])
