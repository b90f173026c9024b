"""The HTTP routes of the emulator; every module exposes `routes`, a list of Starlette routes."""
