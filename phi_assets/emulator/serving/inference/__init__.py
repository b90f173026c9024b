"""The program that answers for one deployment."""
