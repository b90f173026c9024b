"""From a raw split to files to train on."""
