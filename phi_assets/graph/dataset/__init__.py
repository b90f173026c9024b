"""The data set: pinned, raw and sampled."""
