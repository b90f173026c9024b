"""Money: what is billing, what ends it, and who is told when something fails."""
