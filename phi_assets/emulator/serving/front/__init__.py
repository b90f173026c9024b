"""Scoring requests on their way to a deployment."""
