"""Everyday life: how to do things, what to do in small trouble, jobs, tools, shops and materials."""

from phi_assets.quickstart.knowledge import Fields, Relation, Topic, table


def _addressed(things: tuple[Fields, ...]) -> tuple[Fields, ...]:
    return tuple(thing | {"aim": thing["task"].replace("my ", "your ")} for thing in things)


HOW_TO = Topic(
    "how-to",
    _addressed(
        table(
            "task first then last",
            """
        plant a tree | dig a deep hole | put in the tree and fill the hole | water it well
        wash my hands | wet your hands and take soap | rub them for twenty seconds | rinse and dry them
        tie my shoes | cross the laces | make two loops | pull one loop through the other
        brush my teeth | put toothpaste on the brush | brush all sides for two minutes | rinse your mouth
        make my bed | shake the pillow | pull the sheet smooth | spread the blanket over it
        clean a window | wipe off the dust | wash the glass with soapy water | dry it with a cloth
        wrap a present | cut paper that is large enough | fold it around the box | close it with tape
        learn new words | write each word on a card | read the cards every day | use the words in a sentence
        sleep better | go to bed at the same time | keep your room dark and cool | leave your phone outside
        grow tomatoes | put seeds into warm soil | give them sun and water | tie the plants to a stick
        ride a bicycle | sit down and hold the bars | push off with one foot | keep your eyes on the road
        write a letter | greet the person | say what you want to tell | sign it with your name
        save water | turn off the tap while you brush | take short showers | collect rain for the garden
        build a campfire | make a ring of stones | stack small sticks inside | light it and add bigger wood
        fix a flat tyre | take off the tyre | patch the hole in the tube | pump it up again
        iron a shirt | start with the collar | go on with the sleeves | finish with the front and back
        pack a suitcase | write a list | put heavy things at the bottom | roll your clothes to save space
        feel less nervous | sit down for a moment | breathe slowly and deeply | think of a place you like
        water a plant | touch the soil to feel if it is dry | pour water slowly | stop when water comes out below
        paint a wall | cover the floor | tape the edges | roll the paint from top to bottom
        """,
        )
    ),
    (
        Relation(
            keywords=("{first}", "{last}"),
            questions=(
                "How do I {task}?",
                "How can I {task}?",
                "What is a good way to {task}?",
                "Please explain how to {task}.",
                "Can you help me to {task}?",
                "I want to {task}. What should I do?",
                "Which steps do I need to {task}?",
            ),
            answers=("To {aim}, first {first}. Then {then}. Finally, {last}.",),
        ),
        Relation(
            keywords=("{first}",),
            questions=(
                "I want to {task}. How do I start?",
                "What is the first step to {task}?",
                "How do I begin if I want to {task}?",
                "What comes first when I {task}?",
            ),
            answers=("The first step to {aim} is: {first}.",),
            follow_ups=("What was the first step?", "And how do I start?", "Which step comes first?"),
        ),
        Relation(
            keywords=("{last}",),
            questions=(
                "What is the last step to {task}?",
                "What do I do at the end when I {task}?",
                "What comes last when I {task}?",
                "How do I finish if I want to {task}?",
            ),
            answers=("The last step to {aim} is: {last}.",),
            follow_ups=("What was the last step?", "And what do I do at the end?", "Which step comes last?"),
        ),
    ),
    weight=1.6,
)

ADVICE = Topic(
    "advice",
    table(
        "state help",
        """
        tired | take a short nap and go to bed early
        cold | put on a warm sweater and drink some tea
        hungry | eat an apple or a slice of bread
        thirsty | drink a big glass of water
        bored | read a book or call a friend
        sad | talk to somebody you trust and go for a walk
        angry | count to ten and breathe slowly
        nervous | breathe deeply and think of something nice
        lonely | call a friend or join a club
        hot | sit in the shade and drink cool water
        late | call the others and tell them when you will come
        lost | ask a friendly person for the way
        stressed | make a list and do one thing at a time
        ill | stay in bed and call a doctor if it gets worse
        curious | visit a library and ask many questions
        lazy | start with a very small task
        """,
    ),
    (
        Relation(
            keywords=("{help}",),
            questions=(
                "I am {state}. What should I do?",
                "I feel {state}. Can you help me?",
                "What can I do when I am {state}?",
                "Do you have advice for somebody who is {state}?",
                "I am so {state} today!",
                "What helps when you are {state}?",
                "My friend is {state}. What can help?",
                "Why not give me a tip? I am {state}.",
            ),
            answers=("If you are {state}, {help}.",),
        ),
    ),
    mention="if I am {state}",
    weight=1.6,
)

JOBS = Topic(
    "job",
    table(
        "name work place tool",
        """
        baker | bakes bread and cakes | in a bakery | an oven
        teacher | helps children to learn | in a school | books and a board
        doctor | helps people who are ill | in a hospital | a stethoscope
        farmer | grows food and keeps animals | on a farm | a tractor
        pilot | flies planes | in a cockpit | a radio and many switches
        gardener | takes care of plants | in a garden | a spade
        painter | paints walls and doors | in houses | a brush and a roller
        tailor | makes and mends clothes | in a workshop | a needle and thread
        cook | prepares meals | in a kitchen | pots and pans
        firefighter | puts out fires | at a fire station | a hose and a ladder
        dentist | looks after teeth | in a dental practice | a small mirror
        carpenter | builds things from wood | in a workshop | a saw and a hammer
        librarian | lends books to people | in a library | a catalogue
        mechanic | repairs cars | in a garage | a wrench
        waiter | brings food to guests | in a restaurant | a tray
        sailor | works on ships | at sea | ropes and a compass
        barber | cuts hair | in a barber shop | scissors and a comb
        judge | decides who is right | in a court | law books
        scientist | tests new ideas | in a laboratory | a microscope
        musician | plays songs | on a stage | an instrument
        """,
    ),
    (
        Relation(
            keywords=("{work}",),
            questions=(
                "What does {a_name} do?",
                "What is the job of {a_name}?",
                "What does {a_name} do all day?",
                "Can you explain what {a_name} does?",
                "My sister wants to be {a_name}. What will she do?",
                "What kind of work does {a_name} do?",
            ),
            answers=("{a_name} {work}.",),
            follow_ups=("What does this person do?", "And what kind of work is it?"),
        ),
        Relation(
            keywords=("{place}",),
            questions=(
                "Where does {a_name} work?",
                "Where can I meet {a_name}?",
                "In which place does {a_name} work?",
                "Do you know where {a_name} works?",
                "Where should I look for {a_name} at work?",
            ),
            answers=("{a_name} works {place}.",),
            follow_ups=("Where does this person work?", "And where can I meet one?"),
        ),
        Relation(
            keywords=("{tool}",),
            questions=(
                "What does {a_name} use at work?",
                "Which tools does {a_name} need?",
                "What does {a_name} work with?",
                "Which things help {a_name} at work?",
                "What should {a_name} always have at hand?",
            ),
            answers=("{a_name} works with {tool}.",),
            follow_ups=("Which tools does this person need?", "And what is used at work?"),
        ),
    ),
    mention="{a_name}",
)

TOOLS = Topic(
    "tool",
    table(
        "name use",
        """
        hammer | drive nails into wood
        saw | cut wood
        needle | sew clothes
        spoon | eat soup
        knife | cut bread
        umbrella | stay dry in the rain
        lamp | light a dark room
        clock | see what time it is
        broom | sweep the floor
        pillow | rest your head
        map | find the way
        key | open a lock
        ladder | climb up high
        towel | dry your skin
        comb | tidy your hair
        pencil | write and draw
        thermometer | measure the temperature
        ruler | measure how long something is
        bell | call people
        bucket | carry water
        rope | tie things together
        telescope | look at the stars
        camera | take pictures
        fridge | keep food cold
        """,
    ),
    (
        Relation(
            keywords=("{use}",),
            questions=(
                "What is {a_name} used for?",
                "What can I do with {a_name}?",
                "Why do people need {a_name}?",
                "What is {a_name} good for?",
                "Can you explain the use of {a_name}?",
                "What do you do with {a_name}?",
                "I found {a_name}. What is it for?",
            ),
            answers=("You use {a_name} to {use}.",),
        ),
    ),
    mention="{a_name}",
    weight=1.3,
)

SHOPS = Topic(
    "shop",
    table(
        "item shop",
        """
        bread | bakery
        meat | butcher's shop
        medicine | pharmacy
        books | bookshop
        stamps | post office
        flowers | flower shop
        shoes | shoe shop
        toys | toy shop
        fresh fish | fish market
        fuel | petrol station
        furniture | furniture store
        glasses | optician's shop
        nails and screws | hardware store
        train tickets | railway station
        """,
    ),
    (
        Relation(
            keywords=("{shop}",),
            questions=(
                "Where can I buy {item}?",
                "Where do I get {item}?",
                "I need {item}. Where should I go?",
                "Which shop sells {item}?",
                "Where do people buy {item}?",
                "Who sells {item}?",
            ),
            answers=("You can buy {item} at {a_shop}.",),
        ),
    ),
    mention="{item}",
    weight=1.3,
)

MATERIALS = Topic(
    "material",
    table(
        "name stuff",
        """
        window | glass
        book | paper
        sweater | wool
        tyre | rubber
        coin | metal
        candle | wax
        cup | clay
        boot | leather
        door | wood
        wall | bricks
        bottle | glass or plastic
        shirt | cotton
        snowman | snow
        ring | gold or silver
        """,
    ),
    (
        Relation(
            keywords=("{stuff}",),
            questions=(
                "What is {a_name} made of?",
                "Which material is {a_name} made of?",
                "What do people make {a_name} from?",
                "What is the material of {a_name}?",
                "I want to make {a_name}. Which material do I need?",
                "Do you know what {a_name} is made of?",
            ),
            answers=("{a_name} is usually made of {stuff}.",),
        ),
    ),
    mention="{a_name}",
    weight=1.3,
)
