"""A Dagster asset graph that fine-tunes, registers, deploys and scores a chat model on Azure Machine Learning."""
