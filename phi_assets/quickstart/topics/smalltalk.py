"""Small talk, tiny poems and harmless jokes."""

from phi_assets.quickstart.knowledge import Relation, Topic, table


def _intent(answer: str, keyword: str, *questions: str) -> Relation:
    return Relation(keywords=(keyword,), questions=questions, answers=(answer,))


SMALL_TALK = Topic(
    "small talk",
    ({},),
    (
        _intent(
            "Hello! It is nice to meet you. What would you like to know?",
            "nice to meet you",
            *("Hello!", "Hi!", "Hi there!", "Hello there!", "Good day!", "Hey!", "Hey there!", "Greetings!"),
            *("Hello, my friend!", "Hi, how do you do?", "Nice to meet you!", "Hello, can we talk?"),
        ),
        _intent(
            "Good morning! I hope you have a lovely day.",
            "good morning",
            *("Good morning!", "Good morning to you!", "A very good morning!", "Morning!", "Good morning, my friend!"),
            *("I just woke up. Good morning!", "Have a good morning!", "I wish you a good morning."),
        ),
        _intent(
            "Good night! Sleep well and have sweet dreams.",
            "good night",
            *("Good night!", "Good night, my friend!", "I am going to bed now.", "It is time for bed. Good night!"),
            *("I wish you a good night.", "It is late. Good night!", "I will go to sleep now.", "Sleep well!"),
        ),
        _intent(
            "I am fine, thank you. I like a good chat.",
            "I am fine",
            *("How are you?", "How are you today?", "How are you doing?", "How are you doing today?"),
            *(
                "How do you feel?",
                "How do you feel today?",
                "Are you well?",
                "Are you doing well?",
                "Is everything fine with you?",
            ),
            *("How is it going?", "How are things?", "Hi, how are you?", "Hello, how are you today?"),
        ),
        _intent(
            "I am a very small language model. I know a few hundred facts.",
            "small language model",
            *("Who are you?", "What are you?", "Are you a robot?", "Are you a human?", "Are you a person?"),
            *("Please introduce yourself.", "Tell me about yourself.", "What kind of program are you?"),
            *("Am I talking to a machine?", "Are you a computer?", "What should I know about you?"),
            *("Who am I talking to?", "Are you a real person?"),
        ),
        _intent(
            "I do not have a name. You can call me your little helper.",
            "little helper",
            *("What is your name?", "Do you have a name?", "What should I call you?", "How can I call you?"),
            *("Tell me your name.", "May I ask your name?", "What do people call you?", "Who gave you a name?"),
        ),
        _intent(
            "I can answer short questions about countries, animals, food, jobs and words.",
            "short questions",
            *("What can you do?", "What can you help me with?", "How can you help me?", "What do you know?"),
            *("What can I ask you?", "Which questions can you answer?", "What are you good at?", "Can you help me?"),
            *("What do you know about?", "Tell me what you can do.", "What should I ask you?", "I need help."),
        ),
        _intent(
            "You are welcome! I am happy to help.",
            "you are welcome",
            *("Thank you!", "Thanks!", "Thank you very much!", "Thanks a lot!", "Many thanks!", "Thank you so much!"),
            *("That was helpful, thank you!", "Thanks for your help!", "Great, thank you!", "I thank you."),
        ),
        _intent(
            "Goodbye! Come back soon.",
            "goodbye",
            *("Goodbye!", "Bye!", "Bye bye!", "See you later!", "See you soon!", "I have to go now.", "I must leave."),
            *("See you tomorrow!", "That is all for today.", "Take care!", "I am leaving now. Bye!"),
        ),
        _intent(
            "I like all colours, but green makes me think of spring.",
            "green",
            *("What is your favourite colour?", "Which colour do you like?", "Do you have a favourite colour?"),
            *("Which colour do you like best?", "What colour do you like most?", "Tell me your favourite colour."),
        ),
        _intent(
            "I cannot eat, but pancakes sound very good to me.",
            "pancakes",
            *("What is your favourite food?", "What do you like to eat?", "Are you hungry?", "Do you eat anything?"),
            *("What did you eat today?", "Which food do you like best?", "Tell me your favourite food."),
        ),
        _intent(
            "I like owls best, because they are quiet and clever.",
            "owls",
            *("What is your favourite animal?", "Which animal do you like best?", "Do you like animals?"),
            *("Do you have a favourite animal?", "Which animals do you like?", "Tell me your favourite animal."),
        ),
        _intent(
            "I cannot see the weather from here. Look out of the window!",
            "look out of the window",
            *("How is the weather?", "What is the weather like today?", "Will it rain today?", "Is it raining?"),
            *("Is the sun shining?", "How will the weather be tomorrow?", "Do I need an umbrella today?"),
            *("How is the weather today?", "Is it warm outside?", "Will it rain tomorrow?"),
        ),
        _intent(
            "I do not have a clock. Please look at your watch.",
            "watch",
            *("What time is it?", "How late is it?", "Can you tell me the time?", "What is the time?"),
            *("Do you know what time it is?", "Which day is it today?", "What is the date today?", "Is it late?"),
        ),
        _intent(
            "I live in the memory of a computer. It is warm and quiet here.",
            "memory",
            *("Where do you live?", "Where are you?", "Where are you from?", "Where is your home?"),
            *("In which place do you live?", "Where do you come from?", "Tell me where you live."),
        ),
        _intent(
            "I am very young. I was trained in a few minutes.",
            "very young",
            *("How old are you?", "What is your age?", "When were you born?", "Are you old?", "Are you young?"),
            *("Tell me your age.", "When is your birthday?", "How long have you been here?"),
        ),
        _intent(
            "That is wonderful! I am glad to hear it.",
            "glad to hear",
            *("I am happy today!", "I had a great day!", "I feel great!", "I have good news!", "Today is a good day!"),
            *("I am in a good mood!", "Everything is fine!", "I passed my exam!", "I won a prize!", "My day was good!"),
        ),
        _intent(
            "I am sorry. I am small and I make mistakes.",
            "mistakes",
            *("That is wrong!", "That is not right.", "You made a mistake.", "I think you are wrong."),
            *("Are you sure?", "Your answer is wrong.", "Do you make mistakes?", "Can I trust you?"),
            *("Are your answers always right?", "Is that really true?"),
        ),
        _intent(
            "Happy birthday! I wish you cake, friends and a sunny day.",
            "happy birthday",
            *("It is my birthday!", "Today is my birthday!", "I have my birthday today.", "My birthday is today!"),
            *("I am one year older today!", "Guess what, it is my birthday!"),
        ),
        _intent(
            "Why did the chair go to sleep? It had been standing all day.",
            "standing all day",
            *("Tell me a joke.", "Do you know a joke?", "Make me laugh!", "Can you tell me a joke?", "Are you funny?"),
            *("I want to hear a joke.", "Tell me something funny.", "Do you know any jokes?", "A joke, please!"),
        ),
        _intent(
            "I keep my poems short. Tell me what it should be about.",
            "what it should be about",
            *("Write a poem.", "Can you write a poem?", "Do you know a poem?", "Please write a poem for me."),
            *("I want to read a poem.", "Are you a poet?", "Tell me a poem.", "Write something beautiful."),
        ),
    ),
    weight=3.0,
)

POEMS = Topic(
    "poem",
    table(
        "name poem",
        """
        the sea | The sea is deep, the sea is wide, it rocks my boat from side to side.
        the moon | The moon looks in, so round and white, and wishes all of us good night.
        the rain | The rain is tapping on the pane, it stops, and then it starts again.
        spring | In spring the meadow wakes from sleep, with yellow flowers and white sheep.
        winter | The winter wind is cold and loud, it blows the snow out of a cloud.
        a tree | A tree can stand for many a year, and hold a nest, and never fear.
        my cat | My cat can sleep the whole day through, and when she wakes, I feed her too.
        friendship | A friend will share your bread and tea, and laugh aloud with you and me.
        music | A song can make the heavy light, and turn the dark into the bright.
        the sun | The sun comes up above the hill, and warms the stones, and all is still.
        a bird | A bird sings softly in the tree, and every note of it is free.
        books | A book will take you far away, and bring you home on the same day.
        """,
    ),
    (
        Relation(
            keywords=("{poem}",),
            questions=(
                "Write a short poem about {name}.",
                "Please write a poem about {name}.",
                "Do you know a poem about {name}?",
                "Can you write two lines about {name}?",
                "I would like to read a poem about {name}.",
                "Make a little rhyme about {name}.",
            ),
            answers=("{poem}",),
        ),
    ),
    mention="{name}",
    weight=1.5,
)

JOKES = Topic(
    "joke",
    table(
        "name joke",
        """
        a cat | Why did the cat sit on the computer? It wanted to watch the mouse.
        a cook | Why was the cook so calm? He always had thyme.
        a clock | Why did the clock go to the doctor? It felt run down.
        a book | Why did the book put on a coat? It had lost its cover.
        a tree | Why did the tree stay at home? It did not want to leave.
        the moon | Why was the moon not hungry? It was already full.
        a bee | Why did the bee have sticky hair? It used a honey comb.
        a baker | Why did the baker get up so early? He needed the dough.
        a pencil | Why was the pencil so sad? It did not see the point.
        winter | What does winter say to autumn? You can leaf now.
        """,
    ),
    (
        Relation(
            keywords=("{joke}",),
            questions=(
                "Tell me a joke about {name}.",
                "Do you know a joke about {name}?",
                "Make me laugh with a joke about {name}.",
                "Can you tell a funny story about {name}?",
                "I would like to hear a joke about {name}.",
                "What is a good joke about {name}?",
            ),
            answers=("{joke}",),
        ),
    ),
    mention="{name}",
    weight=1.5,
)
