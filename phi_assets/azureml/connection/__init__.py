"""The way to the workspace: clients, sign-in, patience, and writes whose answers may be lost."""
