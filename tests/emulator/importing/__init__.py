"""Models of the user's own in a registry of the emulator."""
