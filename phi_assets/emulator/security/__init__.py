"""Certificates, tokens and signatures."""
