"""Words: opposites, words that mean nearly the same, rhymes."""

from phi_assets.quickstart.knowledge import Fields, Relation, Topic, table


def _both_ways(pairs: tuple[Fields, ...]) -> tuple[Fields, ...]:
    return pairs + tuple({"word": pair["other"], "other": pair["word"]} for pair in pairs)


OPPOSITES = Topic(
    "opposite",
    _both_ways(
        table(
            "word other",
            """
            hot | cold
            big | small
            fast | slow
            happy | sad
            old | new
            hard | soft
            full | empty
            light | dark
            wet | dry
            loud | quiet
            open | closed
            strong | weak
            rich | poor
            clean | dirty
            high | low
            early | late
            wide | narrow
            sweet | bitter
            brave | afraid
            thick | thin
            deep | shallow
            near | far
            cheap | expensive
            safe | dangerous
            easy | difficult
            """,
        )
    ),
    (
        Relation(
            keywords=("{other}",),
            questions=(
                "What is the opposite of {word}?",
                "Which word is the opposite of {word}?",
                "Can you tell me the opposite of {word}?",
                "What is the contrary of {word}?",
                "Please name the opposite of {word}.",
                "If something is not {word} at all, what is it?",
                "I need the opposite of the word {word}.",
            ),
            answers=("The opposite of {word} is {other}.",),
        ),
    ),
    mention="{word}",
)

SYNONYMS = Topic(
    "synonym",
    table(
        "word other",
        """
        happy | glad
        big | large
        small | little
        fast | quick
        begin | start
        end | finish
        smart | clever
        angry | furious
        scared | frightened
        beautiful | lovely
        rich | wealthy
        ill | sick
        strange | odd
        shout | yell
        jump | leap
        gift | present
        road | street
        forest | woods
        child | kid
        answer | reply
        """,
    ),
    (
        Relation(
            keywords=("{other}",),
            questions=(
                "What is another word for {word}?",
                "Which word means the same as {word}?",
                "What can I say instead of {word}?",
                "Can you give me a synonym of {word}?",
                "How else can I say {word}?",
                "I do not want to write {word} again. What else fits?",
            ),
            answers=("Another word for {word} is {other}.",),
        ),
    ),
    mention="{word}",
    weight=1.3,
)

RHYMES = Topic(
    "rhyme",
    table(
        "word other",
        """
        cat | hat
        house | mouse
        tree | bee
        moon | spoon
        night | light
        rain | train
        bear | chair
        cake | lake
        star | car
        ring | king
        boat | coat
        fox | box
        sand | hand
        wall | ball
        """,
    ),
    (
        Relation(
            keywords=("{other}",),
            questions=(
                "Which word rhymes with {word}?",
                "What rhymes with {word}?",
                "I need a rhyme for {word}.",
                "Can you find a rhyme for {word}?",
                "My poem has a line that ends with {word}. What rhymes?",
                "Please give me a word that rhymes with {word}.",
            ),
            answers=("A word that rhymes with {word} is {other}.",),
        ),
    ),
    mention="{word}",
    weight=1.3,
)
