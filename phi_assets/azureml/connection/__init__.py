"""The way to the workspace: clients, sign-in, retries, and writes whose answers may be lost."""
