"""What can go wrong in Azure ML, one class per thing that its reader does next."""


class AzureMLError(Exception):
    """Base of all errors of this package; the message names the thing, its state and what to do next."""

    def __init__(self, message: str, *, studio_url: str | None = None) -> None:
        super().__init__(f"{message}\nStudio: {studio_url}" if studio_url else message)
        self.studio_url = studio_url
        """Page of the thing in Azure ML Studio, where it has one."""


class WorkspaceUnreachable(AzureMLError):
    """The workspace or the registry cannot be reached, or does not know this identity."""


class SightLost(AzureMLError):
    """The service could not be asked for hours about something that runs on meanwhile; nothing was changed."""


class ModelNotFound(AzureMLError):
    """The registry or workspace has no such model or version."""


class ModelNotFineTunable(AzureMLError):
    """The registry says that nothing may fine-tune this model."""


class ComponentNotFound(AzureMLError):
    """The registry has no such component or version."""


class ComputeNotAllowed(AzureMLError):
    """The VM size is not among those that may run this model, or the workspace's region does not offer it."""


class ComputeFailed(AzureMLError):
    """The cluster could not be provisioned, or is not what the recipe asks for."""


class UnknownParameter(AzureMLError):
    """The recipe gives a parameter that the component does not declare."""


class InvalidParameter(AzureMLError):
    """A parameter's value has the wrong type, is out of range, or is not among the allowed ones."""


class DataUploadFailed(AzureMLError):
    """A sample could not be uploaded and registered."""


class StorageRefused(AzureMLError):
    """The workspace's storage account does not let this identity, or keys at all, read a job's output."""


class SubmissionFailed(AzureMLError):
    """The service refused the job; there is no job."""


class JobConflict(AzureMLError):
    """A job with our name exists, and it is not ours."""


class JobNotFound(AzureMLError):
    """The workspace has no such job."""


class JobUnderway(AzureMLError):
    """The job exists and has not ended, and whoever asked for it did not want to wait."""

    def __init__(self, name: str, studio_url: str) -> None:
        super().__init__(f"Job {name} goes on, and no run waits for it.", studio_url=studio_url)
        self.name = name


class JobFailed(AzureMLError):
    """The job ended as Failed; the message carries the service's error text."""


class JobCanceled(AzureMLError):
    """The job was cancelled while it was waited for."""


class JobTimeout(AzureMLError):
    """The job ran longer than the recipe allows and has been cancelled."""


class QueueTimeout(AzureMLError):
    """The job waited longer for a node than the recipe allows and has been cancelled."""


class OutputMissing(AzureMLError):
    """The job says Completed, but its output is not in the datastore."""


class AttemptsExhausted(AzureMLError):
    """As many jobs as the recipe allows have ended without a result."""


class MetricsUnreadable(AzureMLError):
    """The address of the workspace's MLflow interface does not say what a job has recorded."""


class RegistrationFailed(AzureMLError):
    """A model version could not be registered, or the existing one comes from another job."""


class EndpointFailed(AzureMLError):
    """The endpoint could not be brought into state Succeeded."""


class DeploymentFailed(AzureMLError):
    """The deployment did not become healthy; the message has the reason, what to do, and what its containers said."""


class DeploymentUnderway(DeploymentFailed):
    """The deployment is neither healthy nor broken after all the time that it may take."""


class TrafficFailed(AzureMLError):
    """The endpoint does not show the traffic that was set."""


class ScoringFailed(AzureMLError):
    """The endpoint did not answer a request, or answered something that is not an answer."""


class ModelFailed(ScoringFailed):
    """The model did not answer this one request. The endpoint is there, and another prompt may well be answered."""


class ListingFailed(AzureMLError):
    """The service does not say what there is in the workspace, so nothing is known of what is billing."""


class TeardownIncomplete(AzureMLError):
    """Something that was to be deleted is still there, and may be billing."""
