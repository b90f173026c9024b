"""Countries: capital, language, continent, what they are known for, what people like to eat."""

from phi_assets.quickstart.knowledge import Relation, Topic, table

_THINGS = table(
    "name capital language continent fame food",
    """
    France | Paris | French | Europe | the Eiffel Tower | fresh bread and cheese
    Spain | Madrid | Spanish | Europe | sunny beaches and guitar music | rice with seafood
    Portugal | Lisbon | Portuguese | Europe | painted tiles | grilled fish
    Italy | Rome | Italian | Europe | ancient Roman ruins | pizza and pasta
    Germany | Berlin | German | Europe | old castles and fast cars | sausages and dark bread
    Austria | Vienna | German | Europe | the Alps and classical music | apple cake
    Greece | Athens | Greek | Europe | ancient temples | olives and white cheese
    Poland | Warsaw | Polish | Europe | golden amber | filled dumplings
    Sweden | Stockholm | Swedish | Europe | quiet forests and lakes | meatballs with potatoes
    Norway | Oslo | Norwegian | Europe | deep fjords | salmon and brown cheese
    Denmark | Copenhagen | Danish | Europe | toy bricks and bicycles | open sandwiches
    Finland | Helsinki | Finnish | Europe | hot saunas | fish soup
    Iceland | Reykjavik | Icelandic | Europe | volcanoes and hot springs | lamb soup
    Ireland | Dublin | English | Europe | green hills | potato stew
    Hungary | Budapest | Hungarian | Europe | warm thermal baths | spicy beef stew
    Japan | Tokyo | Japanese | Asia | cherry blossoms and fast trains | sushi and noodles
    China | Beijing | Chinese | Asia | the Great Wall | noodles and dumplings
    India | New Delhi | Hindi | Asia | the Taj Mahal | spicy curry
    Thailand | Bangkok | Thai | Asia | golden temples | fried noodles
    Vietnam | Hanoi | Vietnamese | Asia | green rice fields | noodle soup
    Nepal | Kathmandu | Nepali | Asia | the highest mountain in the world | lentils with rice
    Iran | Tehran | Persian | Asia | fine carpets | rice with saffron
    Egypt | Cairo | Arabic | Africa | the pyramids | stewed beans
    Morocco | Rabat | Arabic | Africa | colourful markets | couscous
    Kenya | Nairobi | Swahili | Africa | wild animals and safaris | corn porridge
    Ghana | Accra | English | Africa | cocoa and bright cloth | rice with tomatoes
    Brazil | Brasilia | Portuguese | South America | carnival and football | black beans with rice
    Argentina | Buenos Aires | Spanish | South America | the tango | grilled beef
    Peru | Lima | Spanish | South America | the ruins of the Incas | raw fish with lime
    Mexico | Mexico City | Spanish | North America | colourful festivals | tacos with beans
    Cuba | Havana | Spanish | North America | old cars and lively music | rice and beans
    Canada | Ottawa | English and French | North America | maple trees and ice hockey | pancakes with syrup
    Australia | Canberra | English | Oceania | kangaroos and coral reefs | meat pies
    """,
)

COUNTRIES = Topic(
    "country",
    _THINGS,
    (
        Relation(
            keywords=("{capital}",),
            questions=(
                "What is the capital of {name}?",
                "Which city is the capital of {name}?",
                "What is the capital city of {name}?",
                "Can you tell me the capital of {name}?",
                "Do you know the capital of {name}?",
                "I want to know the capital of {name}.",
                "What is the name of the capital of {name}?",
                "{name}: what is its capital?",
            ),
            answers=("The capital of {name} is {capital}.",),
            follow_ups=("What is its capital?", "And which city is the capital?", "What is the capital there?"),
        ),
        Relation(
            keywords=("{name}",),
            questions=(
                "Which country has {capital} as its capital?",
                "{capital} is the capital of which country?",
                "In which country is {capital}?",
                "Where is {capital}?",
                "Which country does the city {capital} belong to?",
                "Can you tell me where {capital} is?",
            ),
            answers=("{capital} is the capital of {name}.",),
        ),
        Relation(
            keywords=("{language}",),
            questions=(
                "Which language do people speak in {name}?",
                "What language is spoken in {name}?",
                "What do people speak in {name}?",
                "I am going to {name}. Which language will I hear?",
                "Which language should I learn for a trip to {name}?",
                "What is the language of {name}?",
                "Do you know which language they speak in {name}?",
            ),
            answers=("People in {name} speak {language}.",),
            follow_ups=("Which language do people speak there?", "And what do people speak?", "What is the language?"),
        ),
        Relation(
            keywords=("{continent}",),
            questions=(
                "Where is {name}?",
                "On which continent is {name}?",
                "Which continent does {name} belong to?",
                "In which part of the world is {name}?",
                "Can you tell me where {name} is?",
                "Where can I find {name} on a map?",
            ),
            answers=("{name} is in {continent}.",),
            follow_ups=("Where is it?", "On which continent is it?", "And where can I find it on a map?"),
        ),
        Relation(
            keywords=("{fame}",),
            questions=(
                "What is {name} known for?",
                "What is {name} famous for?",
                "Why do people visit {name}?",
                "What can I see in {name}?",
                "What is special about {name}?",
                "What makes {name} famous?",
                "I will visit {name} soon. What is it known for?",
            ),
            answers=("{name} is known for {fame}.",),
            follow_ups=("What is it known for?", "Why do people go there?", "What is special about it?"),
        ),
        Relation(
            keywords=("{food}",),
            questions=(
                "What do people eat in {name}?",
                "Which food is popular in {name}?",
                "What should I eat in {name}?",
                "What is a typical dish in {name}?",
                "What do people in {name} like to eat?",
                "I am hungry and I am in {name}. What should I try?",
            ),
            answers=("In {name} many people enjoy {food}.",),
            follow_ups=("What do people eat there?", "And what should I eat there?", "Which food is popular there?"),
        ),
        Relation(
            keywords=("{capital}", "{language}"),
            questions=(
                "Tell me about {name}.",
                "Tell me something about {name}.",
                "What should I know about {name}?",
                "Please write a short text about {name}.",
                "Can you describe {name}?",
                "What can you tell me about {name}?",
            ),
            answers=("{name} is in {continent}. Its capital is {capital}. People speak {language} and enjoy {food}.",),
            follow_ups=("Tell me more about it.",),
        ),
    ),
    mention="{name}",
)
