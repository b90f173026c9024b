"""Endpoints, deployments and their traffic, and what a new deployment has to show before it gets any."""
