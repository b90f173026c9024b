"""Azure Machine Learning in plain Python: every function makes the workspace so, and says what it had to do for it."""
