"""`python -m phi_assets.docs`: the reference's generated tables are up to date."""

from phi_assets.docs.tables import COMMAND, main

if __name__ == "__main__":
    main(prog_name=COMMAND)
