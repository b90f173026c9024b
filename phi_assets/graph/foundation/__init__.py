"""The foundation model and the cluster that may fine-tune it."""
