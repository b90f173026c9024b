"""Whose things are: what is written on all that this project makes, and what the tags of anything say of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

Tags = Mapping[str, str] | None

MANAGED_TAG, PROJECT_TAG, RECIPE_TAG = "phi-managed", "phi-project", "phi-recipe"
"""On everything that is made here: cluster, endpoint, deployment, job, model version, data asset.

Names of tags on ARM resources may not have a slash, and their case does not count
(https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations).
"""
PERSON_TAG = "owner"
"""Who stands for it, where a person has written that."""

_MARKS = frozenset({MANAGED_TAG, PROJECT_TAG, RECIPE_TAG, "phi/fingerprint", "phi/job", "phi/sha256"})
"""Any of them says that this package has made it: jobs, model versions and data assets of earlier releases have none of
the first three, clusters and deployments of theirs only the first."""


class Whose(Enum):
    """What something is to an owner."""

    OURS = "ours"
    OTHER_RECIPE = "of another recipe of this project"
    OTHER_PROJECT = "of another project"
    SOMEBODYS = "not made by phi_assets"
    """By hand, or by another program."""


@dataclass(frozen=True)
class Owner:
    """On whose behalf things are made and ended."""

    project: str
    recipe: str = ""
    """Empty: the project as a whole, to which all of its recipes' things belong."""

    @property
    def tags(self) -> dict[str, str]:
        """What is written on a thing of this owner's."""
        recipe = {RECIPE_TAG: self.recipe} if self.recipe else {}
        return {MANAGED_TAG: "true", PROJECT_TAG: self.project, **recipe}

    def whose(self, tags: Tags) -> Whose:
        """What the thing with these tags is to this owner.

        What carries a mark of this package and does not name a project, or a recipe, was made by an earlier release.
        That it is ours is then in doubt, and taken for true: it is used and ended, and not made a second time.
        """
        found = _lowered(tags)
        if not _MARKS & found.keys():
            return Whose.SOMEBODYS
        if found.get(PROJECT_TAG, self.project) != self.project:
            return Whose.OTHER_PROJECT
        if self.recipe and found.get(RECIPE_TAG, self.recipe) != self.recipe:
            return Whose.OTHER_RECIPE
        return Whose.OURS

    def owns(self, tags: Tags) -> bool:
        """Whether the thing with these tags is this owner's, to change and to delete."""
        return self.whose(tags) is Whose.OURS

    def is_named_by(self, tags: Tags) -> bool:
        """Whether the tags name this recipe, so that there is no doubt about it."""
        return self.owns(tags) and recipe_of(tags) == self.recipe


def recipe_of(tags: Tags) -> str:
    """The recipe that the tags name, or nothing."""
    return _lowered(tags).get(RECIPE_TAG, "")


def project_of(tags: Tags) -> str:
    """The project that the tags name, or nothing."""
    return _lowered(tags).get(PROJECT_TAG, "")


def person_of(tags: Tags) -> str:
    """Who stands for the thing by its tag `owner`, or nothing."""
    return _lowered(tags).get(PERSON_TAG, "")


def maker_of(tags: Tags) -> str:
    """Who has made the thing, as far as its tags say, for people: `recipe a of project b`."""
    recipe, project, person = recipe_of(tags), project_of(tags), person_of(tags)
    said = " of ".join([*([f"recipe {recipe!r}"] if recipe else []), *([f"project {project!r}"] if project else [])])
    if not said:
        ours = _MARKS & _lowered(tags).keys()
        said = "an earlier release of phi_assets" if ours else "somebody, without a tag of phi_assets"
    return f"{said} (owner: {person})" if person else said


def belonging(tags: Tags, container: Tags) -> Mapping[str, str]:
    """The tags of a thing that lies in another one: what a thing of ours does not say of its owner, the other does.

    Deployments of earlier releases name neither recipe nor project; their endpoint does.
    """
    own = _lowered(tags)
    if not _MARKS & own.keys():
        return own
    around = _lowered(container)
    return {key: around[key] for key in (PROJECT_TAG, RECIPE_TAG) if key in around} | own


def _lowered(tags: Tags) -> dict[str, str]:
    return {str(key).lower(): str(value) for key, value in (tags or {}).items()}
