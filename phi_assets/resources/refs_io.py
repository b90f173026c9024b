"""Refs between assets as small JSON files, readable by people and by any other process."""

import dagster as dg
from pydantic import Field
from upath import UPath

from phi_assets.refs import Ref


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
            dagster.Failure: the upstream asset has never been materialized with this storage.
        """
        path = self._path(context.asset_key)
        if not path.exists():
            raise dg.Failure(
                description=f"Asset {context.asset_key.to_user_string()} has no recorded value at {path}: "
                "materialize it first, or point PHI_STORAGE at the folder where it was materialized",
                allow_retries=False,
            )
        return context.dagster_type.typing_type.model_validate_json(path.read_text(encoding="utf-8"))

    def _path(self, key: dg.AssetKey) -> UPath:
        return UPath(self.base).joinpath(*key.path[:-1], f"{key.path[-1]}.json")
