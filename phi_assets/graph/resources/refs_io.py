"""Refs between assets as small JSON files, readable by people and by any other process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr, ValidationError

from phi_assets.config.settings import Settings
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.places import Place, read_bytes, write_text
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.graph.resources.places import Places
from phi_assets.refs import Ref

_PROBLEMS_SHOWN = 3


class RefIOManager(dg.ConfigurableIOManager):
    """Stores each run's ref of an asset as `<base>/<asset key>/<run id>.json`; `base` is a path or a URL.

    A step reads what its own run has made (or the run that it repeats a part of), else what the asset's last
    materialization recorded: whatever other runs make meanwhile, a run never comes to see it half-way.
    """

    base: str = Field(description="Folder of the refs: a local path, or for example abfss://container@account/refs")
    data: str = Field(default="", description="Where the files lie that refs name (`PHI_DATA`)")
    cache: str = Field(default="", description="What of them is on this machine")
    target: str = Field(default="emulator", description="`emulator` or `azure`")
    home: str = Field(default="", description="Folder of everything that the project writes on this machine")

    _opened: Places | None = PrivateAttr(default=None)

    @classmethod
    def from_settings(cls, settings: Settings) -> "RefIOManager":
        """The IO manager for these settings; nothing is contacted yet."""
        return cls(
            base=settings.storage,
            data=settings.data,
            cache=str(settings.data_dir),
            target=settings.target,
            home=str(settings.home),
        )

    def handle_output(self, context: dg.OutputContext, obj: Ref) -> None:
        """Write the ref; a reader sees all of it or nothing.

        Raises:
            dagster.Failure: it cannot be written.
        """
        name = _name(context.asset_key, context.run_id)
        try:
            with _in_words():
                write_text(self._place, name, obj.model_dump_json(indent=2))
        except OSError as error:  # of this machine's own disk
            raise dg.Failure(
                description=f"The value of asset {context.asset_key.to_user_string()} cannot be written to "
                f"{self.base}/{name}: {error.strerror or error}. Make room there, or point PHI_STORAGE at another "
                "disk, and materialize it again: what has been done already is found and used"
            ) from error

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
        name = _name(context.asset_key, run_id)
        with _in_words():
            content = read_bytes(self._place, name)
            if content is None and not self._place.list("/".join(context.asset_key.path)):
                # Of an earlier release, where the asset has not been materialized since.
                name = f"{'/'.join(context.asset_key.path)}.json"
                content = read_bytes(self._place, name)
        path = f"{self._place.url}/{name}"
        if content is None:
            raise dg.Failure(
                description=f"Asset {asset} was materialized by run {run_id}, which has left no value at {path}: "
                "materialize it again, or point PHI_STORAGE at the folder where it was materialized",
                allow_retries=False,
            )
        kind: type[Ref] = context.dagster_type.typing_type
        try:
            return kind.model_validate_json(content, context={"keeper": self._storage})
        except ValidationError as error:
            raise dg.Failure(
                description=f"The value of asset {asset} at {path} is not a {kind.__name__} that this version can read "
                f"({_problems(error)}): materialize {asset} again",
                allow_retries=False,
            ) from error

    @property
    def _place(self) -> Place:
        return self._places(self.base)

    @property
    def _places(self) -> Places:
        if self._opened is None:
            self._opened = Places(self.target, self.home)
        return self._opened

    @property
    def _storage(self) -> DataStorage | None:
        return DataStorage(self.data, Path(self.cache), self._places) if self.data else None


def _name(key: dg.AssetKey, run_id: str) -> str:
    return "/".join([*key.path, f"{run_id}.json"])


@contextmanager
def _in_words() -> Iterator[None]:
    """A `DatasetError` becomes a `dagster.Failure`: what it says is all that its reader needs."""
    try:
        yield
    except DatasetError as error:
        raise dg.Failure(description=str(error)) from error


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
