"""A local Azure Machine Learning: a process of its own that the unmodified `azure-ai-ml` SDK talks to."""
