"""The emulator's Studio: pages about jobs, models and endpoints, written by the server that knows them."""
