"""Animals: what they are, eat, say and can do, where they live, their young and their groups."""

from phi_assets.quickstart.knowledge import Relation, Topic, table

_THINGS = table(
    "name kind food home baby sound group talent",
    """
    cat | mammal | mice and fish | in houses with people | kitten | meows | | see well in the dark
    dog | mammal | meat and bones | in houses with people | puppy | barks | pack | follow a smell for miles
    cow | mammal | grass and hay | on farms | calf | moos | herd | give a lot of milk
    horse | mammal | hay and oats | in stables | foal | neighs | herd | sleep standing up
    sheep | mammal | grass | in meadows | lamb | bleats | flock | grow warm wool
    goat | mammal | leaves and herbs | on rocky mountains | kid | bleats | herd | climb steep rocks
    pig | mammal | corn and roots | on farms | piglet | oinks | | find food with its nose
    hen | bird | seeds and worms | on farms | chick | clucks | flock | lay an egg almost every day
    duck | bird | water plants | on ponds | duckling | quacks | flock | swim all day long
    goose | bird | grass and seeds | near lakes | gosling | honks | flock | guard a house
    owl | bird | mice | in old trees | owlet | hoots | | fly without a sound
    eagle | bird | fish and rabbits | on high cliffs | eaglet | screams | | see a mouse from far away
    penguin | bird | fish | on icy coasts | chick | | colony | swim but not fly
    parrot | bird | nuts and fruit | in rainforests | chick | squawks | flock | copy human words
    wolf | mammal | deer | in forests | pup | howls | pack | run for many hours
    fox | mammal | mice and berries | in dens | cub | | | hear a mouse under the snow
    bear | mammal | berries and fish | in forests and caves | cub | growls | | sleep all winter
    lion | mammal | zebras | in the savanna | cub | roars | pride | scare others with its voice
    tiger | mammal | deer | in the jungle | cub | roars | | swim across a river
    elephant | mammal | grass and leaves | in the savanna | calf | trumpets | herd | use its trunk like a hand
    giraffe | mammal | leaves of tall trees | in the savanna | calf | | tower | reach the highest leaves
    kangaroo | mammal | grass | on dry plains | joey | | mob | jump over a car
    rabbit | mammal | grass and carrots | in burrows | kit | | | hop away very fast
    mouse | mammal | seeds and crumbs | in small holes | pup | squeaks | | fit through a tiny gap
    squirrel | mammal | nuts and seeds | in trees | kit | chatters | | hide thousands of nuts
    whale | mammal | tiny sea animals | in the ocean | calf | sings | pod | hold its breath for an hour
    dolphin | mammal | fish and squid | in the sea | calf | clicks | pod | jump high out of the water
    frog | amphibian | flies and worms | in ponds | tadpole | croaks | army | catch flies with its tongue
    snake | reptile | mice and eggs | under warm rocks | hatchling | hisses | | smell with its tongue
    turtle | reptile | water plants | in warm seas | hatchling | | | live for a hundred years
    bee | insect | nectar | in hives | larva | buzzes | swarm | make sweet honey
    spider | arachnid | flies | in webs | spiderling | | | spin a strong web
    """,
)

ANIMALS = Topic(
    "animal",
    _THINGS,
    (
        Relation(
            keywords=("{food}",),
            questions=(
                "What does {a_name} eat?",
                "What is the favourite food of {a_name}?",
                "What can I feed {a_name}?",
                "What does {a_name} like to eat?",
                "Do you know what {a_name} eats?",
                "Which food does {a_name} need?",
                "I saw {a_name} today. What does it eat?",
            ),
            answers=("{a_name} eats {food}.",),
            follow_ups=("What does it eat?", "And what does it like to eat?", "Which food does it need?"),
        ),
        Relation(
            keywords=("{home}",),
            questions=(
                "Where does {a_name} live?",
                "Where can I find {a_name}?",
                "What is the home of {a_name}?",
                "In which place does {a_name} live?",
                "Where should I look for {a_name}?",
                "Do you know where {a_name} lives?",
            ),
            answers=("{a_name} lives {home}.",),
            follow_ups=("Where does it live?", "And where can I find it?", "Where is its home?"),
        ),
        Relation(
            keywords=("{baby}",),
            questions=(
                "What is a baby {name} called?",
                "What do you call a young {name}?",
                "What is the name for a baby {name}?",
                "What is the young of {a_name} called?",
                "What do people call a very young {name}?",
                "Which word means a baby {name}?",
            ),
            answers=("A baby {name} is called {a_baby}.",),
            follow_ups=("What is its baby called?", "And what do you call its young?", "What are its young called?"),
        ),
        Relation(
            keywords=("{sound}",),
            questions=(
                "What sound does {a_name} make?",
                "Which noise does {a_name} make?",
                "How does {a_name} sound?",
                "What does {a_name} say?",
                "What can I hear when {a_name} is near?",
                "Do you know the sound of {a_name}?",
            ),
            answers=("{a_name} {sound}.",),
            follow_ups=("What sound does it make?", "And how does it sound?", "Which noise does it make?"),
        ),
        Relation(
            keywords=("{kind}",),
            questions=(
                "What kind of animal is {a_name}?",
                "Which group of animals does {a_name} belong to?",
                "To which class of animals would you count {a_name}?",
                "What type of animal is {a_name}?",
                "How would you classify {a_name}?",
            ),
            answers=("{a_name} is {a_kind}.",),
            follow_ups=("What kind of animal is it?", "And what type of animal is it?"),
        ),
        Relation(
            keywords=("{group}",),
            questions=(
                "What do you call the group that {a_name} lives in?",
                "What is the family group of {a_name} called?",
                "Which word means a group of animals like {a_name}?",
                "In which kind of group does {a_name} live?",
                "What is the name of the group that {a_name} belongs to?",
            ),
            answers=("{a_name} lives in a group that is called {a_group}.",),
            follow_ups=("What is a group of them called?", "And what do you call a group of them?"),
        ),
        Relation(
            keywords=("{talent}",),
            questions=(
                "What can {a_name} do well?",
                "What is special about {a_name}?",
                "Tell me a fun fact about {a_name}.",
                "What makes {a_name} special?",
                "What is {a_name} good at?",
                "Can you tell me something surprising about {a_name}?",
            ),
            answers=("{a_name} can {talent}.",),
            follow_ups=("What is special about it?", "And what can it do well?", "Tell me a fun fact about it."),
        ),
        Relation(
            keywords=("{food}", "{talent}"),
            questions=(
                "Tell me about {a_name}.",
                "What do you know about {a_name}?",
                "Please write a short text about {a_name}.",
                "Can you describe {a_name}?",
                "What should I know about {a_name}?",
                "My child likes animals. What can I say about {a_name}?",
            ),
            answers=("{a_name} is {a_kind}. It lives {home} and eats {food}. It can {talent}.",),
            follow_ups=("Tell me more about it.",),
        ),
    ),
    mention="{a_name}",
)
