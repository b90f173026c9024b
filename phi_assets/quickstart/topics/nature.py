"""Colours, numbers of legs and days, months and planets."""

from phi_assets.quickstart.knowledge import Relation, Topic, table

COLOURS = Topic(
    "colour",
    table(
        "name colour",
        """
        the sky | blue
        grass | green
        snow | white
        coal | black
        blood | red
        the sun | yellow
        milk | white
        chocolate | brown
        a flamingo | pink
        a raven | black
        a fire engine | red
        a sunflower | yellow
        a polar bear | white
        an emerald | green
        the sea | blue
        a violet | purple
        sand | yellow
        smoke | grey
        """,
    ),
    (
        Relation(
            keywords=("{colour}",),
            questions=(
                "What colour is {name}?",
                "Which colour does {name} have?",
                "What is the colour of {name}?",
                "I want to paint {name}. Which colour should I take?",
                "Do you know the colour of {name}?",
                "Can you tell me what colour {name} is?",
            ),
            answers=("The colour of {name} is {colour}.",),
        ),
    ),
    mention="{name}",
    weight=1.3,
)

MIXTURES = Topic(
    "mixture",
    table(
        "one other result",
        """
        red | yellow | orange
        blue | yellow | green
        red | blue | purple
        red | white | pink
        black | white | grey
        red | green | brown
        yellow | red | orange
        yellow | blue | green
        blue | red | purple
        white | red | pink
        white | black | grey
        green | red | brown
        """,
    ),
    (
        Relation(
            keywords=("{result}",),
            questions=(
                "What do I get when I mix {one} and {other}?",
                "Which colour do {one} and {other} make?",
                "What happens if I mix {one} paint with {other} paint?",
                "I have {one} and {other} paint. What can I mix?",
                "What is {one} mixed with {other}?",
                "{one} and {other}: what colour is that together?",
                "Which colour comes out when {one} meets {other}?",
            ),
            answers=("If you mix {one} and {other}, you get {result}.",),
        ),
    ),
    mention="{one} and {other}",
    weight=1.5,
)

COUNTS = Topic(
    "count",
    table(
        "parts whole number",
        """
        legs | a spider | 8
        legs | a cat | 4
        legs | a bird | 2
        legs | a bee | 6
        wheels | a bicycle | 2
        wheels | a car | 4
        days | a week | 7
        months | a year | 12
        hours | a day | 24
        minutes | an hour | 60
        seasons | a year | 4
        fingers | a hand | 5
        arms | an octopus | 8
        sides | a triangle | 3
        strings | a guitar | 6
        letters | the English alphabet | 26
        """,
    ),
    (
        Relation(
            keywords=("{number}",),
            questions=(
                "How many {parts} does {whole} have?",
                "How many {parts} has {whole}?",
                "What is the number of {parts} of {whole}?",
                "Do you know how many {parts} {whole} has?",
                "Please count the {parts} of {whole}.",
                "Can you tell me how many {parts} {whole} has?",
            ),
            answers=("The number of {parts} of {whole} is {number}.",),
        ),
    ),
    weight=1.5,
)

MONTHS = Topic(
    "month",
    table(
        "name next before season weather",
        """
        January | February | December | winter | cold
        February | March | January | winter | cold
        March | April | February | spring | mild
        April | May | March | spring | mild
        May | June | April | spring | mild
        June | July | May | summer | warm
        July | August | June | summer | warm
        August | September | July | summer | warm
        September | October | August | autumn | windy
        October | November | September | autumn | windy
        November | December | October | autumn | windy
        December | January | November | winter | cold
        """,
    ),
    (
        Relation(
            keywords=("{next}",),
            questions=(
                "Which month comes after {name}?",
                "What month follows {name}?",
                "What comes after {name}?",
                "It is {name}. What is the next month?",
                "Do you know the month after {name}?",
            ),
            answers=("After {name} comes {next}.",),
            follow_ups=("Which month comes next?", "And what comes after it?"),
        ),
        Relation(
            keywords=("{season}",),
            questions=(
                "In which season is {name}?",
                "Which season does {name} belong to?",
                "What season is it in {name}?",
                "Which time of the year is {name}?",
                "I was born in {name}. Which season is that?",
            ),
            answers=("In Europe {name} is in {season}.",),
            follow_ups=("Which season is that?", "And in which season is it?"),
        ),
        Relation(
            keywords=("{weather}",),
            questions=(
                "How is the weather in {name}?",
                "What is the weather like in {name}?",
                "I will travel in {name}. How will the weather be?",
                "Which weather should I expect in {name}?",
            ),
            answers=("In Europe the weather in {name} is often {weather}.",),
            follow_ups=("How is the weather then?", "And what is the weather like?"),
        ),
    ),
    mention="{name}",
)

PLANETS = Topic(
    "planet",
    table(
        "name order look fact",
        """
        Mercury | first | grey and full of craters | the smallest planet
        Venus | second | bright and yellow | the hottest planet
        Earth | third | blue and green | our home
        Mars | fourth | red and dusty | a planet with a very high volcano
        Jupiter | fifth | striped with a big red spot | the largest planet
        Saturn | sixth | golden with wide rings | the planet with the brightest rings
        Uranus | seventh | pale blue | a planet that lies on its side
        Neptune | eighth | deep blue | the planet with the fastest winds
        """,
    ),
    (
        Relation(
            keywords=("{order}",),
            questions=(
                "Which planet from the sun is {name}?",
                "How far out is {name} among the planets?",
                "What is the place of {name} in our solar system?",
                "Counting from the sun, which planet is {name}?",
                "Where is {name} in the row of planets?",
            ),
            answers=("{name} is the {order} planet from the sun.",),
            follow_ups=("Which planet from the sun is it?", "And where is it in the row of planets?"),
        ),
        Relation(
            keywords=("{look}",),
            questions=(
                "What does {name} look like?",
                "How does {name} look from space?",
                "Can you describe how {name} looks?",
                "What would I see if I flew to {name}?",
                "Which look does the planet {name} have?",
            ),
            answers=("{name} looks {look}.",),
            follow_ups=("What does it look like?", "And how does it look?"),
        ),
        Relation(
            keywords=("{fact}",),
            questions=(
                "What is special about {name}?",
                "Tell me something about {name}.",
                "Why is {name} interesting?",
                "What makes the planet {name} special?",
                "What is {name} known for?",
                "Give me a fact about the planet {name}.",
            ),
            answers=("{name} is {fact}.",),
            follow_ups=("What is special about it?", "And why is it interesting?"),
        ),
    ),
    mention="{name}",
    weight=1.3,
)
