"""The commands of `python -m phi_assets`."""
