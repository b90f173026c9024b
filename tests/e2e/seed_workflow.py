"""The Azure ML notebook's way from a registry model to an answer, with the calls that it makes and no others.

A program of its own: azure-ai-ml, azure-identity, pandas and the standard library. It knows nothing of phi_assets;
where its workspace is, it learns from the environment.

    python seed_workflow.py --data <folder with <split>*.parquet> --result <file for a JSON summary>
"""

import argparse
import ast
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import (
    AmlCompute,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
    ProbeSettings,
)
from azure.identity import DefaultAzureCredential, InteractiveBrowserCredential

MODEL_NAME = "Phi-3-mini-4k-instruct"
COMPUTE_CLUSTER = "gpu-cluster-big"
COMPUTE_CLUSTER_SIZE = "Standard_NC24ads_A100_v4"
INSTANCE_TYPE = "Standard_NC6s_v3"
EXPERIMENT_NAME = "chat_completion_Phi-3-mini-4k-instruct"
DATASET = Path("./ultrachat_200k_dataset")
SPLIT_PERCENT = 5
K80_SIZES = ["standard_nc6", "standard_nc12", "standard_nc24", "standard_nc24r"]


def sign_in() -> Any:
    try:
        credential = DefaultAzureCredential()
        credential.get_token("https://management.azure.com/.default")
    except Exception as error:
        print(error)
        credential = InteractiveBrowserCredential()
    return credential


def open_workspace(credential: Any) -> MLClient:
    try:
        return MLClient.from_config(credential=credential)
    except Exception as error:
        print(f"No config.json: {error}")
        return MLClient(
            credential,
            subscription_id=os.environ["AZURE_SUBSCRIPTION_ID"],
            resource_group_name=os.environ["AZURE_RESOURCE_GROUP"],
            workspace_name=os.environ["AZURE_ML_WORKSPACE"],
        )


def allow_list(tags: Mapping[str, str], tag: str) -> list[str] | None:
    if tag not in tags:
        print(f"`{tag}` is not part of model tags")
        return None
    sizes = ast.literal_eval(tags[tag])
    print(f"Please create a compute from the above list - {sizes}")
    return sizes


def get_or_create_compute(client: MLClient) -> Any:
    compute: Any
    try:
        compute = client.compute.get(COMPUTE_CLUSTER)
        print(f"Cluster {COMPUTE_CLUSTER} is there.")
    except Exception as missing:
        print(f"No cluster {COMPUTE_CLUSTER} ({missing}); creating it.")
        try:
            compute = AmlCompute(name=COMPUTE_CLUSTER, size=COMPUTE_CLUSTER_SIZE, tier="Dedicated", max_instances=2)
            client.compute.begin_create_or_update(compute).wait()
        except Exception:
            try:
                compute = AmlCompute(
                    name=COMPUTE_CLUSTER, size=COMPUTE_CLUSTER_SIZE, tier="LowPriority", max_instances=2
                )
                client.compute.begin_create_or_update(compute).wait()
            except Exception as error:
                print(error)
                raise ValueError(f"WARNING! Compute size {COMPUTE_CLUSTER_SIZE} not available in workspace") from error
    compute = client.compute.get(COMPUTE_CLUSTER)
    if compute.provisioning_state.lower() == "failed":
        raise ValueError(f"Provisioning failed, Compute '{COMPUTE_CLUSTER}' is in failed state.")
    return compute


def check_size(size: str, allowed: list[str] | None) -> None:
    if allowed is not None:
        if size.lower() not in [name.lower() for name in allowed]:
            raise ValueError(f"VM size {size} is not in the allow-listed computes for finetuning")
    elif size.lower() in K80_SIZES:
        raise ValueError(f"VM size {size} is currently not supported for finetuning")


def count_gpus(client: MLClient, size: str) -> int:
    available = []
    skus: Any = client.compute.list_sizes()
    for sku in skus:
        available.append(sku.name)
        if sku.name.lower() == size.lower():
            print(f"Number of GPU's in compute {size}: {sku.gpus}")
            return sku.gpus
    raise ValueError(f"Number of GPU's in compute {size} not found. Available skus are: {available}.")


def write_samples(source: Path) -> dict[str, int]:
    DATASET.mkdir(exist_ok=True)
    rows = {}
    for split in ("train_sft", "test_sft", "train_gen", "test_gen"):
        shards = sorted(source.glob(f"{split}*.parquet"))
        frame = pd.concat([pd.read_parquet(shard) for shard in shards], ignore_index=True)
        sample = frame.head(max(1, round(len(frame) * SPLIT_PERCENT / 100)))
        sample.to_json(DATASET / f"{split}.jsonl", orient="records", lines=True)
        rows[split] = len(sample)
    print(pd.read_json("./ultrachat_200k_dataset/train_sft.jsonl", lines=True).head())
    return rows


def collect_parameters(tags: Mapping[str, str]) -> dict[str, Any]:
    training_parameters = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
    }
    optimization_parameters = {"apply_lora": "true", "apply_deepspeed": "true", "deepspeed_stage": 2}
    finetune_parameters: dict[str, Any] = {**training_parameters, **optimization_parameters}
    if "model_specific_defaults" in tags:
        print("Warning! Model specific defaults exist. The defaults could be overridden.")
        finetune_parameters.update(ast.literal_eval(tags["model_specific_defaults"]))
    print(f"The following finetune parameters are going to be set for the run: {finetune_parameters}")
    return finetune_parameters


def get_pipeline_display_name(parameters: Mapping[str, Any], gpus_per_node: int) -> str:
    batch_size = (
        int(parameters.get("per_device_train_batch_size", 1))
        * int(parameters.get("gradient_accumulation_steps", 1))
        * int(gpus_per_node)
        * int(parameters.get("num_nodes_finetune", 1))
    )
    scheduler = parameters.get("lr_scheduler_type", "linear")
    stage = parameters.get("deepspeed_stage", "2")
    ds_string = f"ds{stage}" if parameters.get("apply_deepspeed", "false") == "true" else "nods"
    lora_string = "lora" if parameters.get("apply_lora", "false") == "true" else "nolora"
    save_limit = parameters.get("save_total_limit", -1)
    seq_len = parameters.get("max_seq_length", -1)
    return (
        f"{MODEL_NAME}-ultrachat-bs{batch_size}-{scheduler}-{ds_string}-{lora_string}"
        f"-save_limit{save_limit}-seqlen{seq_len}"
    )


def fine_tune(
    client: MLClient, registry: MLClient, model_id: str, parameters: dict[str, Any], gpus_per_node: int
) -> Any:
    pipeline_component_func: Any = registry.components.get(name="chat_completion_pipeline", label="latest")
    pipeline_display_name = get_pipeline_display_name(parameters, gpus_per_node)
    print(f"Display name used for the run: {pipeline_display_name}")
    named_pipeline: Any = pipeline

    @named_pipeline(name=pipeline_display_name)
    def create_pipeline() -> dict[str, Any]:
        chat_completion_pipeline = pipeline_component_func(
            mlflow_model_path=model_id,
            compute_model_import=COMPUTE_CLUSTER,
            compute_preprocess=COMPUTE_CLUSTER,
            compute_finetune=COMPUTE_CLUSTER,
            compute_model_evaluation=COMPUTE_CLUSTER,
            train_file_path=Input(type="uri_file", path="./ultrachat_200k_dataset/train_sft.jsonl"),
            test_file_path=Input(type="uri_file", path="./ultrachat_200k_dataset/test_sft.jsonl"),
            number_of_gpu_to_use_finetuning=gpus_per_node,
            **parameters,
        )
        return {"trained_model": chat_completion_pipeline.outputs.mlflow_model_folder}

    pipeline_object = create_pipeline()
    pipeline_object.settings.force_rerun = True
    pipeline_object.settings.continue_on_step_failure = False
    pipeline_job = client.jobs.create_or_update(pipeline_object, experiment_name=EXPERIMENT_NAME)
    client.jobs.stream(str(pipeline_job.name))
    return pipeline_job


def register(client: MLClient, job_name: str, timestamp: str) -> Model:
    job: Any = client.jobs.get(job_name)
    print("pipeline job outputs: ", job.outputs)
    model_path_from_job = f"azureml://jobs/{job_name}/outputs/trained_model"
    finetuned_model_name = (MODEL_NAME + "-ultrachat-200k").replace("/", "-")
    prepare_to_register_model = Model(
        path=model_path_from_job,
        type=AssetTypes.MLFLOW_MODEL,
        name=finetuned_model_name,
        version=timestamp,
        description=MODEL_NAME + " fine tuned model for ultrachat 200k chat-completion",
    )
    print("prepare to register model: \n", prepare_to_register_model)
    registered_model = client.models.create_or_update(prepare_to_register_model)
    print("registered model: \n", registered_model)
    return registered_model


def deploy(client: MLClient, registered_model: Model, endpoint_name: str, inference_sizes: list[str] | None) -> None:
    endpoint = ManagedOnlineEndpoint(
        name=endpoint_name,
        description="Online endpoint for "
        + str(registered_model.name)
        + ", fine tuned model for ultrachat-200k-chat-completion",
        auth_mode="key",
    )
    client.begin_create_or_update(endpoint).wait()
    if inference_sizes is not None and INSTANCE_TYPE not in inference_sizes:
        print(f"`instance_type` is not in the allow listed compute. Please select a value from {inference_sizes}")
    demo_deployment = ManagedOnlineDeployment(
        name="demo",
        endpoint_name=endpoint_name,
        model=registered_model.id,
        instance_type=INSTANCE_TYPE,
        instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90000),
    )
    client.online_deployments.begin_create_or_update(demo_deployment).wait()
    endpoint.traffic = {"demo": 100}
    client.begin_create_or_update(endpoint).result()


def score(client: MLClient, endpoint_name: str) -> str:
    test_df = pd.read_json("./ultrachat_200k_dataset/test_gen.jsonl", lines=True)
    test_df = test_df.sample(n=1)
    test_df.reset_index(drop=True, inplace=True)
    parameters = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": 200}
    test_json = {
        "input_data": {"input_string": [test_df["messages"][0]], "parameters": parameters},
        "params": {},
    }
    with open("./ultrachat_200k_dataset/sample_score.json", "w") as f:
        json.dump(test_json, f)
    response = client.online_endpoints.invoke(
        endpoint_name=endpoint_name,
        deployment_name="demo",
        request_file="./ultrachat_200k_dataset/sample_score.json",
    )
    print("raw response: \n", response, "\n")
    return response


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--result", type=Path, required=True)
    options = arguments.parse_args()

    credential = sign_in()
    workspace_ml_client = open_workspace(credential)
    registry_ml_client = MLClient(credential, registry_name="azureml")
    timestamp = str(int(time.time()))

    foundation_model = registry_ml_client.models.get(MODEL_NAME, label="latest")
    tags: Mapping[str, str] = foundation_model.tags or {}
    print(
        f"\n\nUsing model name: {foundation_model.name}, version: {foundation_model.version}, "
        f"id: {foundation_model.id} for fine tuning"
    )
    computes_allow_list = allow_list(tags, "finetune_compute_allow_list")
    compute = get_or_create_compute(workspace_ml_client)
    check_size(compute.size, computes_allow_list)
    gpus_per_node = count_gpus(workspace_ml_client, compute.size)

    rows = write_samples(options.data)
    finetune_parameters = collect_parameters(tags)
    pipeline_job = fine_tune(
        workspace_ml_client, registry_ml_client, str(foundation_model.id), finetune_parameters, gpus_per_node
    )
    registered_model = register(workspace_ml_client, pipeline_job.name, timestamp)

    online_endpoint_name = "ultrachat-completion-" + timestamp
    deploy(
        workspace_ml_client, registered_model, online_endpoint_name, allow_list(tags, "inference_compute_allow_list")
    )
    response = score(workspace_ml_client, online_endpoint_name)
    workspace_ml_client.online_endpoints.begin_delete(name=online_endpoint_name).wait()

    options.result.write_text(
        json.dumps(
            {
                "model_id": foundation_model.id,
                "job": pipeline_job.name,
                "job_status": workspace_ml_client.jobs.get(pipeline_job.name).status,
                "display_name": pipeline_job.display_name,
                "registered_model": registered_model.id,
                "endpoint": online_endpoint_name,
                "response": json.loads(response),
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
