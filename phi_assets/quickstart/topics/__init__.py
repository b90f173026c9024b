"""What the quickstart's model knows, topic by topic."""

from phi_assets.quickstart.knowledge import Topic
from phi_assets.quickstart.topics.animals import ANIMALS
from phi_assets.quickstart.topics.computing import COMPUTING
from phi_assets.quickstart.topics.countries import COUNTRIES
from phi_assets.quickstart.topics.everyday import ADVICE, HOW_TO, JOBS, MATERIALS, SHOPS, TOOLS
from phi_assets.quickstart.topics.kitchen import DISHES, FRUITS
from phi_assets.quickstart.topics.nature import COLOURS, COUNTS, MIXTURES, MONTHS, PLANETS
from phi_assets.quickstart.topics.smalltalk import JOKES, POEMS, SMALL_TALK
from phi_assets.quickstart.topics.unknown import UNKNOWN
from phi_assets.quickstart.topics.words import OPPOSITES, RHYMES, SYNONYMS

TOPICS: tuple[Topic, ...] = (
    *(COUNTRIES, ANIMALS, DISHES, FRUITS, HOW_TO, ADVICE, JOBS, TOOLS, SHOPS, MATERIALS, COLOURS, MIXTURES),
    *(COUNTS, MONTHS, PLANETS, OPPOSITES, SYNONYMS, RHYMES, COMPUTING, SMALL_TALK, POEMS, JOKES, UNKNOWN),
)
