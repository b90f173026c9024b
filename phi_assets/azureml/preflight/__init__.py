"""Preflight: everything that can be known to go wrong, before anything is asked for that costs money."""
