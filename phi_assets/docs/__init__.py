"""The documentation, and the part of it that is generated: `python -m phi_assets.docs`."""
