"""The code location of this repository: settings and recipes become one Definitions."""

from phi_assets.components import build_definitions
from phi_assets.config.recipe_files import load_recipes
from phi_assets.config.settings import load_settings
from phi_assets.config.trust import trust_authorities
from phi_assets.graph.automation.instance_settings import tell_missing_settings
from phi_assets.graph.load_errors import in_one_message
from phi_assets.processes import collect_seldom

__all__ = ["build_definitions", "defs"]

collect_seldom()
with in_one_message():
    _settings = load_settings()
    trust_authorities(_settings)
    tell_missing_settings()
    defs = build_definitions(_settings, *load_recipes(_settings.recipe))
