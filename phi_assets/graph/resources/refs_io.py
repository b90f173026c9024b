"""Refs between assets as small JSON files, readable by people and by any other process."""

from contextlib import suppress

import dagster as dg
from pydantic import Field, ValidationError
from upath import UPath

from phi_assets.refs import Ref

_PROBLEMS_SHOWN = 3


class RefIOManager(dg.ConfigurableIOManager):
    """Stores each run's ref of an asset as `<base>/<asset key>/<run id>.json`; `base` is a path or any fsspec URL.

    A step reads what its own run has made (or the run that it repeats a part of), else what the asset's last
    materialization recorded: whatever other runs make meanwhile, a run never comes to see it half-way.
    """

    base: str = Field(description="Folder of the refs: a local path, or for example abfss://container@account/refs")

    def handle_output(self, context: dg.OutputContext, obj: Ref) -> None:
        """Write the ref; a reader sees all of it or nothing."""
        path = self._path(context.asset_key, context.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.protocol in ("", "file"):
            partial = path.with_name(f".{path.name}")
            partial.write_text(obj.model_dump_json(indent=2), encoding="utf-8")
            partial.rename(path)
        else:
            path.write_text(obj.model_dump_json(indent=2), encoding="utf-8")

    def load_input(self, context: dg.InputContext) -> Ref:
        """Read the upstream asset's ref.

        Raises:
            dagster.Failure: the upstream asset has never been materialized on this instance, or not with this storage,
                or what it recorded is no ref that this version can read.
        """
        asset = context.asset_key.to_user_string()
        run_id = _made_by(context)
        if run_id is None:
            raise dg.Failure(
                description=f"Asset {asset} has never been materialized on this Dagster instance: materialize it first",
                allow_retries=False,
            )
        path = self._path(context.asset_key, run_id)
        if not path.exists():
            path = self._of_earlier_releases(path)
        if not path.exists():
            raise dg.Failure(
                description=f"Asset {asset} was materialized by run {run_id}, which has left no value at {path}: "
                "materialize it again, or point PHI_STORAGE at the folder where it was materialized",
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

    def _path(self, key: dg.AssetKey, run_id: str) -> UPath:
        return UPath(self.base).joinpath(*key.path, f"{run_id}.json")

    @staticmethod
    def _of_earlier_releases(path: UPath) -> UPath:
        """`<base>/<asset key>.json`, where the asset has not been materialized since; else the path itself."""
        return path if path.parent.exists() else path.parent.with_name(f"{path.parent.name}.json")


def _made_by(context: dg.InputContext) -> str | None:
    """The run whose value is meant; None where the asset has never been materialized."""
    # For an input from outside the run, Dagster puts something in the place of a run's id.
    with suppress(dg.DagsterInvariantViolationError):
        if context.upstream_output and context.instance.has_run(context.upstream_output.run_id):
            return context.upstream_output.run_id
    event = context.instance.get_latest_materialization_event(context.asset_key)
    return event.run_id if event else None


def _problems(error: ValidationError) -> str:
    """What is wrong, without the values: `gpus: Field required`."""
    lines = [
        ": ".join(filter(None, [".".join(map(str, problem["loc"])), problem["msg"]]))
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "; ".join(lines[:_PROBLEMS_SHOWN])
