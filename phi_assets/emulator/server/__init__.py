"""The server process, and what every request passes on its way in."""
