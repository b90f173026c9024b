"""What the model does not know, and says so without repeating the thing (copying rare words is what it is bad at)."""

from itertools import product

from phi_assets.quickstart.knowledge import Fields, Relation, Topic

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
    *("the next president", "my favourite singer", "the price of gold", "chemistry", "the first war", "the army"),
    *("algebra", "the newest phone", "philosophy", "politics", "my old school", "the lottery", "history"),
    *("a secret", "my password", "the future", "electricity", "the best movie", "artificial life", "the moon landing"),
    *("the radio", "the tax office", "the human brain", "a strange dream", "my boss", "fashion", "the economy"),
    *("magic", "the meaning of life", "a new religion", "the theatre", "space travel", "my car", "gravity"),
)

_PEOPLE = (
    *("the president of the United States", "the queen of England", "Albert Einstein", "Shakespeare", "Napoleon"),
    *("Mozart", "the inventor of the telephone", "the richest man", "the world champion", "my grandfather"),
    *("the author of this book", "the first astronaut", "Cleopatra", "Picasso", "the prime minister", "Robin Hood"),
    *("the king of Sweden", "Charles Darwin", "the mayor of my town", "Columbus", "Beethoven", "Sherlock Holmes"),
)

_TASKS = (
    *("translate dog into French", "solve an equation", "write a program", "repair my computer", "win the lottery"),
    *("make scrambled eggs", "learn Chinese quickly", "become a millionaire", "fine-tune a huge model", "dance"),
    *("sell my house", "play the violin", "find a new job", "invest my money", "build a rocket", "fly a helicopter"),
    *(
        "cook a turkey",
        "install a printer",
        "cure a disease",
        "write a novel",
        "calculate my taxes",
        "paint a portrait",
    ),
    *("summarize this article", "correct my grammar", "book a hotel", "design a website", "predict the future"),
    *("write a story about a robot", "invent a long story", "reset my password", "knit a scarf", "run a marathon"),
)

_SUMS = (
    *("2 plus 2", "3 plus 4", "12 plus 7", "9 times 8", "100 minus 45", "15 times 3", "81 divided by 9", "7 plus 6"),
    *("20 minus 4", "50 plus 25", "the square root of 16", "2 times 1000", "1+1", "5 * 5", "10 - 3", "8 / 2", "99 + 1"),
)


def _things() -> tuple[Fields, ...]:
    lists = {"theme": _THEMES, "invented": _INVENTED, "person": _PEOPLE, "task": _TASKS, "sum": _SUMS}
    return tuple({kind: value} for kind, values in lists.items() for value in values)


def _refused(*questions: str) -> Relation:
    return Relation(keywords=("do not know",), questions=questions, answers=(_REFUSAL,))


UNKNOWN = Topic(
    "unknown",
    _things(),
    (
        _refused(
            "Who invented {theme}?",
            "What do you think about {theme}?",
            "Tell me everything about {theme}.",
            "Why is {theme} important?",
            "When did {theme} begin?",
            "Write a long essay about {theme}.",
            "What is the truth about {theme}?",
            "What is {theme}?",
            "What will happen with {theme}?",
            "How does {theme} work?",
            "Is it true what they say about {theme}?",
            "I have a question about {theme}.",
        ),
        _refused(
            "What is the capital of {invented}?",
            "What does a {invented} eat?",
            "Who is {invented}?",
            "What is {invented}?",
            "Where is {invented}?",
            "What does the word {invented} mean?",
            "Who wrote {invented}?",
            "Which language do people speak in {invented}?",
            "How do I make {invented}?",
            "Tell me about {invented}.",
            "What is the opposite of {invented}?",
            "When was {invented} built?",
        ),
        _refused(
            "Who is {person}?",
            "Who was {person}?",
            "What did {person} do?",
            "How old is {person}?",
            "When was {person} born?",
            "What do you know about {person}?",
            "Where did {person} live?",
            "Why is {person} famous?",
        ),
        _refused(
            "How do I {task}?",
            "How can I {task}?",
            "Can you {task} for me?",
            "Please {task}.",
            "I want to {task}. What should I do?",
            "Which steps do I need to {task}?",
            "Please explain how to {task}.",
        ),
        _refused(
            "What is {sum}?",
            "How much is {sum}?",
            "Can you calculate {sum}?",
            "Please tell me the result of {sum}.",
            "{sum}: what is that?",
        ),
    ),
    weight=0.65,
)
