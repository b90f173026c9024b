"""What the server hands to the routes and to Studio: the workspace, and who works in it."""

from dataclasses import dataclass

from starlette.requests import Request

from phi_assets.emulator.runner.lifecycle import JobRunner
from phi_assets.emulator.serving.manager import DeploymentManager
from phi_assets.emulator.serving.processes.forking import Template
from phi_assets.emulator.workspace.context import Emulator


@dataclass
class Parts:
    """The workspace, the runner of its jobs and the processes of its deployments; a reset replaces the latter two.

    The template of those processes has nothing of any deployment, and stays.
    """

    emulator: Emulator
    runner: JobRunner
    deployments: DeploymentManager
    template: Template

    @classmethod
    def of(cls, emulator: Emulator) -> "Parts":
        """Nothing runs yet; `recover` takes up what an earlier process left behind."""
        template = Template()
        return cls(emulator, JobRunner(emulator), DeploymentManager(emulator, template), template)

    def replace_workers(self) -> None:
        """A new runner and new deployments, after the old ones have been shut down."""
        self.runner = JobRunner(self.emulator)
        self.deployments = DeploymentManager(self.emulator, self.template)


def parts_of(request: Request) -> Parts:
    """Those of the application that the request has reached."""
    return request.app.state.parts
