"""What the model does not know, and says so without repeating the thing (copying rare words is what it is bad at)."""

from itertools import product

from phi_assets.quickstart.knowledge import Relation, Topic

_REFUSAL = "I am sorry, I do not know that. Ask me about countries, animals or food."

_STARTS = (
    *("Bel", "Cor", "Dra", "Fil", "Gro", "Hul", "Kem", "Lor"),
    *("Mab", "Nor", "Pel", "Quo", "Ras", "Sel", "Tar", "Vor"),
)
_MIDDLES = ("a", "abi", "em", "ido", "ol", "uni", "ava", "ister")
_ENDS = ("dia", "nix", "ron", "lia", "to", "mund", "sk", "ville", "ter", "zen")
# A step that has no common factor with 1,280 walks through the combinations without a visible order.
_ALL_INVENTED = ["".join(parts) for parts in product(_STARTS, _MIDDLES, _ENDS)]
_INVENTED = [_ALL_INVENTED[index * 437 % len(_ALL_INVENTED)] for index in range(80)]

_THEMES = (
    *("quantum physics", "the stock market", "my neighbour", "the last election", "the steam engine", "Hamlet"),
    *("the football match yesterday", "my exam", "a famous actor", "the Roman Empire", "the newest game", "the law"),
    *("the next president", "my favourite singer", "the price of gold", "chemistry", "software", "the first war"),
    *("algebra", "the newest phone", "philosophy", "politics", "my old school", "the lottery", "the internet"),
    *("a secret", "my password", "the future", "electricity", "ancient history", "the best movie", "artificial life"),
    *(
        "the radio",
        "the tax office",
        "the human brain",
        "a strange dream",
        "my boss",
        "fashion",
        "the economy",
        "magic",
    ),
    *("a data pipeline", "the cloud", "machine learning", "a new language", "the theatre", "space travel", "my car"),
)

UNKNOWN = Topic(
    "unknown",
    tuple({"theme": theme, "invented": ""} for theme in _THEMES)
    + tuple({"theme": "", "invented": word} for word in _INVENTED),
    (
        Relation(
            keywords=("do not know",),
            questions=(
                "Who invented {theme}?",
                "What do you think about {theme}?",
                "Explain {theme} to me.",
                "Why is {theme} important?",
                "When did {theme} begin?",
                "Write a long essay about {theme}.",
                "What is the truth about {theme}?",
                "Can you teach me everything about {theme}?",
                "What will happen with {theme}?",
                "How does {theme} work?",
                "Who knows most about {theme}?",
                "I have a question about {theme}.",
            ),
            answers=(_REFUSAL,),
        ),
        Relation(
            keywords=("do not know",),
            questions=(
                "What is the capital of {invented}?",
                "What does a {invented} eat?",
                "Who is {invented}?",
                "What is {invented}?",
                "Where is {invented}?",
                "What does the word {invented} mean?",
                "Who wrote {invented}?",
                "Which language do people speak in {invented}?",
                "How do I use {invented}?",
                "Tell me about {invented}.",
                "Do you like {invented}?",
                "When was {invented} built?",
            ),
            answers=(_REFUSAL,),
        ),
    ),
    weight=0.6,
)
