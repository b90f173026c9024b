"""Dishes that anybody can make, and fruit and vegetables."""

from phi_assets.quickstart.knowledge import Relation, Topic, joined, table

_DISHES = joined(
    table(
        "name needs minutes tip",
        """
        pancakes | flour, milk and eggs | 20 | let the batter rest for a while
        tomato soup | tomatoes, onions and broth | 30 | add some cream at the end
        an omelette | eggs, butter and salt | 10 | keep the heat low
        a fruit salad | apples, bananas and oranges | 15 | use fruit that is really ripe
        pizza | dough, tomatoes and cheese | 40 | make the oven as hot as you can
        rice | rice, water and salt | 25 | do not stir while it cooks
        mashed potatoes | potatoes, milk and butter | 35 | warm the milk before you add it
        a sandwich | bread, cheese and salad | 5 | toast the bread a little
        bread | flour, yeast and water | 120 | be patient while the dough rises
        porridge | oats, milk and honey | 8 | stir it all the time
        a smoothie | berries, yogurt and milk | 5 | use frozen berries
        spaghetti | spaghetti, tomatoes and garlic | 20 | salt the water well
        potato salad | potatoes, pickles and mayonnaise | 45 | let it stand for an hour
        hot chocolate | milk, cocoa and sugar | 10 | add a pinch of cinnamon
        lemonade | lemons, sugar and water | 10 | put in some mint leaves
        apple pie | apples, flour and butter | 90 | use sour apples
        vegetable stew | carrots, beans and potatoes | 50 | add fresh herbs at the end
        cookies | flour, sugar and chocolate | 30 | leave space between them
        """,
    ),
    table(
        "name first then last",
        """
        pancakes | mix flour, milk and eggs | heat some butter in a pan | bake both sides until golden
        tomato soup | fry the onions | add tomatoes and broth | cook it slowly and blend it
        an omelette | beat the eggs with salt | melt butter in a pan | let the eggs set and fold them
        a fruit salad | wash all the fruit | cut it into small pieces | stir in some orange juice
        pizza | roll out the dough | cover it with tomatoes and cheese | bake it in a hot oven
        rice | rinse the rice | boil it in salted water | let it rest with the lid on
        mashed potatoes | peel the potatoes | boil them until soft | mash them with milk and butter
        a sandwich | butter the bread | put on cheese and salad | cut it in half
        bread | knead flour, yeast and water | let the dough rise | bake it until it sounds hollow
        porridge | put oats and milk in a pot | stir over low heat | sweeten it with honey
        a smoothie | put berries in a blender | add yogurt and milk | blend until smooth
        spaghetti | boil a big pot of water | cook the spaghetti until tender | toss it with garlic and tomatoes
        potato salad | boil and slice the potatoes | chop the pickles | mix all with mayonnaise
        hot chocolate | warm the milk | stir in cocoa and sugar | whisk until foamy
        lemonade | press the lemons | dissolve sugar in warm water | mix all and add ice
        apple pie | make a dough from flour and butter | fill it with sliced apples | bake it until brown
        vegetable stew | chop the vegetables | fry them in oil | simmer them in broth
        cookies | mix a soft dough | form small balls | bake them until crisp at the edge
        """,
    ),
)

DISHES = Topic(
    "dish",
    _DISHES,
    (
        Relation(
            keywords=("{needs}",),
            questions=(
                "What do I need for {name}?",
                "Which ingredients go into {name}?",
                "What should I buy to make {name}?",
                "What are the ingredients of {name}?",
                "I want to make {name}. What do I need?",
                "What goes into {name}?",
            ),
            answers=("For {name} you need {needs}.",),
            follow_ups=("What do I need for it?", "Which ingredients do I need?", "What should I buy?"),
        ),
        Relation(
            keywords=("{first}", "{last}"),
            questions=(
                "How do I make {name}?",
                "How can I prepare {name}?",
                "Please give me a recipe for {name}.",
                "Can you explain how to make {name}?",
                "What is a simple way to make {name}?",
                "Teach me to make {name}.",
            ),
            answers=("To make {name}, first {first}. Then {then}. Finally, {last}.",),
            follow_ups=("How do I make it?", "Can you explain how to make it?", "What are the steps?"),
        ),
        Relation(
            keywords=("{minutes} minutes",),
            questions=(
                "How long does it take to make {name}?",
                "How many minutes do I need for {name}?",
                "How much time do I need for {name}?",
                "Can I make {name} quickly?",
                "When will {name} be ready if I start now?",
            ),
            answers=("Making {name} takes about {minutes} minutes.",),
            follow_ups=("How long does it take?", "And how many minutes do I need?"),
        ),
        Relation(
            keywords=("{tip}",),
            questions=(
                "Do you have a tip for {name}?",
                "How do I get {name} right?",
                "What should I remember when I make {name}?",
                "Please give me a tip for making {name}.",
                "How can I make {name} even better?",
            ),
            answers=("Here is a tip for {name}: {tip}.",),
            follow_ups=("Do you have a tip for me?", "Is there a trick?", "How do I get it right?"),
        ),
    ),
    mention="{name}",
)

_FRUITS = table(
    "name colour taste place",
    """
    banana | yellow | sweet and soft | on tall plants
    lemon | yellow | very sour | on trees
    apple | red or green | fresh and sweet | on trees
    strawberry | red | sweet and juicy | on small plants near the ground
    cherry | dark red | sweet | on trees
    blueberry | blue | sweet and a little sour | on bushes
    pear | green | sweet and juicy | on trees
    plum | purple | sweet and a little sour | on trees
    pineapple | brown and yellow | sweet and sour | on the ground
    carrot | orange | sweet and crunchy | under the ground
    potato | brown | mild | under the ground
    tomato | red | fresh and juicy | on tall plants
    cucumber | green | fresh and mild | on the ground
    onion | brown or red | sharp | under the ground
    pumpkin | orange | mild and sweet | on the ground
    pea | green | sweet | in pods
    """,
)

FRUITS = Topic(
    "fruit",
    _FRUITS,
    (
        Relation(
            keywords=("{colour}",),
            questions=(
                "What colour is {a_name}?",
                "Which colour does {a_name} have?",
                "What is the colour of {a_name}?",
                "I want to paint {a_name}. Which colour should I take?",
                "Do you know the colour of {a_name}?",
            ),
            answers=("{a_name} is {colour}.",),
            follow_ups=("What colour is it?", "And which colour does it have?"),
        ),
        Relation(
            keywords=("{taste}",),
            questions=(
                "How does {a_name} taste?",
                "What is the taste of {a_name}?",
                "What does {a_name} taste like?",
                "Can you describe the taste of {a_name}?",
                "I have never eaten {a_name}. How does it taste?",
            ),
            answers=("{a_name} tastes {taste}.",),
            follow_ups=("How does it taste?", "And what does it taste like?"),
        ),
        Relation(
            keywords=("{place}",),
            questions=(
                "Where does {a_name} grow?",
                "Where can I pick {a_name}?",
                "In which place does {a_name} grow?",
                "Do you know where {a_name} grows?",
                "Where do farmers find {a_name}?",
            ),
            answers=("{a_name} grows {place}.",),
            follow_ups=("Where does it grow?", "And where can I pick it?"),
        ),
    ),
    mention="{a_name}",
)
