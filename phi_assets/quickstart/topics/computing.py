"""The words that somebody meets who trains a language model."""

from phi_assets.quickstart.knowledge import Relation, Topic, table

COMPUTING = Topic(
    "computing",
    table(
        "name meaning",
        """
        Dagster | a tool that keeps data and models up to date
        Azure | a cloud where you can rent computers
        a language model | a program that guesses the next word
        a chat model | a language model that has learned to answer
        fine-tuning | teaching a trained model something new
        LoRA | a way to train a model with few new weights
        a tokenizer | a tool that cuts text into small pieces
        a data set | a collection of examples to learn from
        an endpoint | an address where a model answers questions
        a pipeline | a chain of steps that run one after the other
        a computer program | a list of orders for a computer
        a prompt | the text that you give to a model
        a cluster | a group of computers that work together
        machine learning | letting a computer find rules in examples
        a neural network | a net of numbers that learns
        the internet | many computers that talk to each other
        """,
    ),
    (
        Relation(
            keywords=("{meaning}",),
            questions=(
                "What is {name}?",
                "Explain {name} to me.",
                "Can you explain what {name} is?",
                "Please tell me what {name} is.",
                "Do you know what {name} is?",
                "What is meant by {name}?",
                "I often hear about {name}. What is it?",
            ),
            answers=("{name} is {meaning}.",),
        ),
    ),
    mention="{name}",
    weight=1.5,
)
