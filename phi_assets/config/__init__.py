"""What people set: recipes, settings, and whom this process trusts."""
