"""The fine-tuning job and the model that comes out of it."""
