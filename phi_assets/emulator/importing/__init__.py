"""A model of the user's own, from a Hugging Face folder into a registry of the emulator."""
