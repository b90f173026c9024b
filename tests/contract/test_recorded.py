"""The emulator answers as the recorded service does: the same keys, JSON types, nulls, constants and headers.

Every recorded operation that exists here is compared with what the SDK was answered by the emulator, and what the SDK
sends with what it sent then. Whatever differs stands in one of the tables below with its reason. An entry that is no
longer true fails too.
"""

from collections.abc import Iterator, Sequence

import pytest

from tests.contract.conftest import Conversation
from tests.contract.exchanges import ABSENT, Exchange
from tests.contract.shapes import Operation, recorded

_CLUSTERS_ONLY = "of computes there are only clusters"
_NO_DIAGNOSIS = "a workspace cannot be diagnosed"

NOT_HERE = {
    "GET {LOC}/mfeOperationResults/{result_operation_id} 202": "an operation that still runs cannot be met surely",
    "GET {LOC}/workspaceOperationsStatus/{workspace_operation_id} 200": _NO_DIAGNOSIS,
    "GET {LOC}/workspaceOperationsStatus/{workspace_operation_id} 202": _NO_DIAGNOSIS,
    "POST {WS}/diagnose 202": _NO_DIAGNOSIS,
    "PUT {WS}/components/{component}/versions/{component_version} 429": "components have no limit of their own here",
    "GET {WS}/computes/{compute_instance} 200": _CLUSTERS_ONLY,
    "GET /common/discovery/instance 200": "is asked of Microsoft Entra, which does not exist here",
}
"""Recorded operations that nobody can ask the emulator, or that cannot be compared."""

HEADERS_NOT_SENT = {
    "Request-Context": "names the service's telemetry resource; there is none",
    "Strict-Transport-Security": "browsers would refuse other programs on localhost that have no certificate",
    "Access-Control-Allow-Origin": "no page of another origin asks the emulator",
    "Access-Control-Expose-Headers": "no page of another origin asks the emulator",
}

_NEVER_REUSED = "the recorded step took over an earlier result; the job that is compared forbids it"
_NODES = "the graph's node has its own inputs and no compute of its own; the recorded nodes had other ones"
_NEWER = "is in the requests of newer clients"
_NEWER_ANSWER = "is in the answers of newer versions of the interface, as the one of the recorded GET"
_OF_NEWER_COMMANDS = (
    *("autologgerSettings", "notificationSetting", "queueSettings", "secretsConfiguration"),
    *("resources.locations", "resources.maxInstanceCount", "services.{*}.nodes"),
    *("outputs.{*}.assetName", "outputs.{*}.assetVersion", "outputs.{*}.autoDeleteSetting"),
)
_FORCED = "the recorded jobs did not have this setting"

DIFFERENCES = {
    "POST /history/v1.0{WS}/rundata 200": {
        "answer runDefinition.Jobs.{*}.computeId: missing": _NODES,
        "answer runDefinition.Jobs.{*}.inputs: not recorded": _NODES,
    },
    "GET /history/v1.0{WS}/runs/{child_job} 200": {
        f'answer properties["azureml.{key}"]: missing': _NEVER_REUSED
        for key in ("reusednodeid", "reusedpipeline", "reusedpipelinerunid", "reusedrunid")
    },
    "GET /history/v1.0{WS}/runs/{job}/children 200": {
        f'answer value[].properties["azureml.{key}"]: missing': _NEVER_REUSED
        for key in ("reusednodeid", "reusedpipeline", "reusedpipelinerunid", "reusedrunid")
    },
    "GET {WS} 200": {
        "answer properties.systemDatastoresAuthMode: not recorded": "came with a newer version of the interface",
    },
    "PUT {WS}/codes/{code}/versions/{code_version} 200": {
        "request properties.properties.hash_version: number instead of string": _NEWER,
    },
    "PUT {WS}/codes/{code}/versions/{code_version} 201": {
        "request properties.properties.hash_version: number instead of string": _NEWER,
    },
    "GET {WS}/components 200": {"answer nextLink: missing": "the recorded list had more than a page"},
    "GET {WS}/components/{component}/versions/{component_version} 200": {
        "answer properties.componentSpec.code: not recorded": "the recorded component had no code",
    },
    "PUT {WS}/computes/{compute} 201": {"request properties.disableLocalAuth: not recorded": _NEWER},
    "POST {WS}/datastores/{datastore}/listSecrets 200": {
        "request expirableSecret: not recorded": _NEWER,
        "request expireAfterHours: not recorded": _NEWER,
    },
    "GET {WS}/environments/{environment}/versions/{environment_version} 200": {
        "answer properties.image: not recorded": "the recorded environment was a curated one, which has no image",
    },
    "GET {WS}/jobs/{job} 200": {"answer properties.jobs.{*}.inputs: not recorded": _NODES},
    "PUT {WS}/jobs/{job} 200": {
        "answer properties.jobs.{*}.inputs.{*}.uri: not recorded": _NODES,
        "answer properties.jobs.{*}.inputs.{*}.value: missing": _NODES,
        "answer properties.jobs.{*}.outputs: not recorded": _NODES,
        "request properties.jobs.{*}.inputs.{*}.uri: not recorded": _NODES,
    },
    "PUT {WS}/jobs/{job} 201": {
        "answer properties.jobs.{*}.inputs.{*}.uri: not recorded": _NODES,
        "answer properties.jobs.{*}.inputs.{*}.value: missing": _NODES,
        "request properties.jobs.{*}.inputs.{*}.uri: not recorded": _NODES,
    },
    "PUT {WS}/jobs/{job} 400": {
        "answer error.additionalInfo[].info.value.code: not recorded": "the recorded refusal had another cause",
        "answer error.additionalInfo[].info.value.innerError: not recorded": "the recorded refusal had another cause",
        "request properties.jobs.{*}.inputs.{*}.uri: not recorded": _NODES,
        "request properties.settings.force_rerun: not recorded": _FORCED,
    },
    "PUT {WS}/jobs/{job} 401": {
        "request properties.jobs.{*}.inputs.{*}.uri: not recorded": _NODES,
        "request properties.settings.force_rerun: not recorded": _FORCED,
    },
    "PUT {WS}/jobs/{job} 404": {"request properties.settings.force_rerun: not recorded": _FORCED},
    "GET {WS}/jobs/{command_job} 200": {
        "answer properties.distribution: null instead of object": "the recorded job was a distributed one",
    },
    "PUT {WS}/jobs/{command_job} 201": {
        **{f"answer properties.{key}: not recorded": _NEWER_ANSWER for key in _OF_NEWER_COMMANDS},
        "answer properties.resources.properties: object instead of null": _NEWER_ANSWER,
    },
}
"""What differs of bodies, by operation."""

_INFO = "the recorded one is of the first entry alone"
_OWN_STORAGE = "the suffix of the emulator's own storage address"
_NODE_TYPE = "the graph's node is a pipeline component; the recorded nodes were other ones"
_OUTPUT_TYPE = "the graph's output is a model"
_LOGIN = "repeats the request; the recorded clients asked for `Enabled`, the SDK of today for `NotSpecified`"
_CAUSE = "the recorded refusal had another cause"

OTHER_VALUES = {
    "POST /history/v1.0{WS}/rundata 200": {
        "runDefinition.Jobs.{*}.type": _NODE_TYPE,
        "runMetadata.outputs.{*}.type": "the SDK (1.35.2) downloads only outputs that are called `uri_folder`",
    },
    "GET /history/v1.0{WS}/runs/{child_job} 200": {'properties["azureml.isreused"]': _NEVER_REUSED},
    "GET /history/v1.0{WS}/runs/{job}/children 200": {'value[].properties["azureml.isreused"]': _NEVER_REUSED},
    "GET {WS}/computes/{compute} 200": {"properties.properties.remoteLoginPortPublicAccess": _LOGIN},
    "PUT {WS}/computes/{compute} 201": {"properties.properties.remoteLoginPortPublicAccess": _LOGIN},
    "GET {WS}/data/{data} 200": {"properties.dataType": "the asset asked for is a folder"},
    "GET {WS}/datastores 200": {"value[].properties.endpoint": _OWN_STORAGE},
    "GET {WS}/datastores/{datastore} 200": {"properties.endpoint": _OWN_STORAGE},
    "GET {WS}/environments/{environment}/versions/{environment_version} 200": {
        "properties.environmentType": "the recorded environment was a curated one",
    },
    "GET {WS}/jobs/{job} 200": {
        "properties.jobs.{*}.type": _NODE_TYPE,
        "properties.outputs.{*}.jobOutputType": _OUTPUT_TYPE,
    },
    "PUT {WS}/jobs/{job} 200": {
        "properties.jobs.{*}.inputs.{*}.job_input_type": _NODES,
        "properties.jobs.{*}.type": _NODE_TYPE,
        "properties.outputs.{*}.jobOutputType": _OUTPUT_TYPE,
        "properties.status": "the recorded job had begun to run when it was sent again",
    },
    "PUT {WS}/jobs/{job} 201": {
        "properties.jobs.{*}.inputs.{*}.job_input_type": _NODES,
        "properties.jobs.{*}.type": _NODE_TYPE,
        "properties.outputs.{*}.jobOutputType": _OUTPUT_TYPE,
    },
    "PUT {WS}/jobs/{job} 400": {
        "error.additionalInfo[].info.value": _INFO,
        "error.additionalInfo[].type": _CAUSE,
        "error.code": _CAUSE,
    },
    "PUT {WS}/jobs/{job} 401": {"error.additionalInfo[].info.value": _INFO, "error.code": _CAUSE},
    "PUT {WS}/jobs/{job} 404": {"error.additionalInfo[].info.value": _INFO},
    "POST {WS}/jobs/{job}/cancel 400": {"error.additionalInfo[].info.value": _INFO},
    "PUT {WS}/jobs/{command_job} 201": {
        "properties.status": "the recorded job had begun to start when its request was answered",
    },
    "GET {WS}/models/{model} 404": {"error.additionalInfo[].info.value": _INFO},
}
"""Constants of answers that are others here, by operation and key path."""

_OF_A_STEP = (
    *("runId", "displayName", "status", "startTimeUtc", "endTimeUtc", "error", "tags"),
    *("cancelationReason", "lastModifiedBy"),
)

READ_BY_THE_GRAPH: dict[str, Sequence[str]] = {
    "POST /history/v1.0{WS}/rundata 200": ["runMetadata.outputs"],
    "GET /history/v1.0{WS}/runs/{child_job} 200": _OF_A_STEP,
    "GET /history/v1.0{WS}/runs/{job}/children 200": [f"value[].{key}" for key in _OF_A_STEP],
    "GET {WS} 200": [
        *("location", "properties.discoveryUrl", "properties.mlFlowTrackingUri", "properties.provisioningState"),
        *("properties.storageAccount", "properties.workspaceId", "identity"),
    ],
    "GET {WS}/computes/{compute} 200": ["location", "tags", "identity", "properties"],
    "GET {WS}/data/{data}/versions/{data_version} 200": ["id", "name", "properties"],
    "GET {WS}/datastores/{datastore} 200": ["properties"],
    "POST {WS}/datastores/{datastore}/listSecrets 200": ["key", "secretsType"],
    "GET {WS}/jobs/{job} 200": [
        *("name", "properties.status", "properties.tags", "properties.outputs", "properties.services"),
        *("properties.displayName", "properties.experimentName", "properties.properties", "systemData"),
    ],
    "GET {WS}/models/{model}/versions 200": ["value"],
    "GET {WS}/models/{model}/versions/{version} 200": ["id", "name", "properties", "systemData"],
    "GET {LOC}/mfeOperationsStatus/{mfe_operation_id} 200": ["status", "percentComplete"],
    "GET {LOC}/computeOperationsStatus/{compute_operation_id} 200": ["status", "percentComplete"],
}
"""Keys, and all below them, that the graph decides by or shows, itself or by the SDK: here nothing may differ."""

_RECORDED = recorded()


def differences(operation: Operation, exchange: Exchange) -> Iterator[str]:
    """What differs of body, headers and request; of the request, only what was sent and not recorded."""
    if exchange.answer is not ABSENT or operation.answer.types:
        for difference in operation.answer.differences(exchange.answer):
            yield f"answer {difference}"
        for path in operation.other_values(exchange.answer):
            yield f"value {path}"
    if exchange.sent is not ABSENT:
        for difference in operation.request.differences(exchange.sent, complete=False):
            yield f"request {difference}"
    for header, value in operation.headers.items():
        found = exchange.headers.get(header)
        if found is None:
            yield f"header {header}: missing"
        elif value is not None and found != value:
            yield f"header {header}: {found} instead of {value}"


def expected(operation: Operation) -> set[str]:
    """What the tables say."""
    unsent = {f"header {header}: missing" for header in HEADERS_NOT_SENT if header in operation.headers}
    others = {f"value {path}" for path in OTHER_VALUES.get(operation.name, {})}
    return unsent | others | DIFFERENCES.get(operation.name, {}).keys()


@pytest.mark.parametrize("name", _RECORDED)
def test_the_emulator_answers_as_recorded(conversation: Conversation, name: str) -> None:
    exchange = conversation.last(_RECORDED[name])
    if name in NOT_HERE:
        assert exchange is None, f"{name} does exist: take it out of NOT_HERE"
        return
    assert exchange is not None, f"{name} was not asked: ask it in conftest.py, or say in NOT_HERE why it cannot be"
    found = set(differences(_RECORDED[name], exchange))
    assert found - expected(_RECORDED[name]) == set(), "differs, and is in no table"
    # How far a job has come is a matter of a moment.
    assert expected(_RECORDED[name]) - found <= {"value properties.status"}, "is in a table, and differs no more"


def test_nothing_that_the_graph_reads_differs() -> None:
    assert READ_BY_THE_GRAPH.keys() <= _RECORDED.keys() - NOT_HERE.keys()
    for name, paths in READ_BY_THE_GRAPH.items():
        differing = [
            entry.removeprefix("answer ") for entry in DIFFERENCES.get(name, {}) if entry.startswith("answer ")
        ]
        assert not [entry for entry in differing if entry.startswith(tuple(paths))], name


def test_how_much_is_compared(conversation: Conversation) -> None:
    assert NOT_HERE.keys() | DIFFERENCES.keys() | OTHER_VALUES.keys() <= _RECORDED.keys()
    made = {name: found for name, each in _RECORDED.items() if (found := conversation.last(each)) is not None}
    fields = sum(
        _RECORDED[name].answer.compared(exchange.answer)
        + _RECORDED[name].request.compared(exchange.sent)
        + len(_RECORDED[name].headers)
        for name, exchange in made.items()
    )
    assert len(made) == 42
    assert fields > 1800
