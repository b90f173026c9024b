"""`python -m phi_assets`: materialize the whole graph in this process and say what came of it."""

from phi_assets.cli.commands import main

if __name__ == "__main__":
    main(prog_name="python -m phi_assets")
