"""Asking a deployed model, and keeping what it said."""
