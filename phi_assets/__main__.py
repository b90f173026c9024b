"""`python -m phi_assets`: materialize the whole graph in this process and say what came of it."""

from phi_assets.cli import commands, comparing, models, pages
from phi_assets.cli.main import main

__all__ = ["commands", "comparing", "main", "models", "pages"]

if __name__ == "__main__":
    main(prog_name="python -m phi_assets")
