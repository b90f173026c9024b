"""Clusters and the sizes of their machines."""
