"""What the emulator's quickstart is made of: a conversation generator, the bundled data set and the tiny base model."""
