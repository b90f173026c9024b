"""The programs that the command components of the emulated registry run, each in its own process."""
