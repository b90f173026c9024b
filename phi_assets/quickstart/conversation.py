"""Conversations of one to four turns, whose later turns depend on the earlier ones."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from phi_assets.quickstart.knowledge import Exchange, Fields, Relation, Topic, is_held_out
from phi_assets.quickstart.topics import SMALL_TALK, TOPICS

Message = dict[str, str]

_TURNS = {1: 40, 2: 32, 3: 19, 4: 9}
_SWITCHES = ("And what about {}?", "And {}?", "What about {}?", "How about {}?")
_THANKS = ("Thank you!", "Thanks!", "Thank you very much!", "Great, thank you!", "Many thanks!")
_OPENINGS = {"Hello! ": "Hello! ", "Hi! ": "Hi! ", "Please help me. ": "Of course. ", "Quick question: ": "Sure. "}
_COURTESY_SHARE = 0.12
_CARELESS_SHARE = 0.08


@dataclass(frozen=True)
class Conversation:
    """What a user asks and what a good assistant answers."""

    exchanges: tuple[Exchange, ...]

    @property
    def prompt(self) -> str:
        """The first question, as the user wrote it."""
        return self.exchanges[0].question

    def messages(self) -> list[Message]:
        """The chat format: a user's and an assistant's message for each turn."""
        return [
            {"content": text, "role": role}
            for exchange in self.exchanges
            for role, text in (("user", exchange.question), ("assistant", exchange.answer))
        ]


@dataclass(frozen=True)
class _Turn:
    exchange: Exchange
    topic: Topic
    thing: Fields
    relation: Relation


@cache
def held_out_exchanges() -> tuple[Exchange, ...]:
    """Every first question that no training ever shows, with its answer, in a fixed order."""
    return tuple(exchange for topic in TOPICS for exchange in topic.exchanges() if is_held_out(exchange.question))


@cache
def _held_out_questions() -> frozenset[str]:
    return frozenset(exchange.question for exchange in held_out_exchanges())


@cache
def _topic_weights() -> list[float]:
    # The power keeps the topics with few facts from drowning in those with hundreds.
    return [topic.weight * len(topic.facts) ** 0.8 for topic in TOPICS]


def compose(rng: random.Random, *, held_out: bool = False) -> Conversation:
    """One conversation; its first question is a held-out one or, by default, never one."""
    turns = [_first_turn(rng, held_out)]
    length = rng.choices(tuple(_TURNS), tuple(_TURNS.values()))[0]
    while len(turns) < length:
        turns.append(_next_turn(rng, turns, last=len(turns) == length - 1))
    exchanges = [turn.exchange for turn in turns]
    style = rng.random()
    if style < _CARELESS_SHARE:
        exchanges[0] = _careless(rng, exchanges[0])
    elif style < _CARELESS_SHARE + _COURTESY_SHARE and turns[0].topic is not SMALL_TALK:
        exchanges[0] = _courteous(rng, exchanges[0])
    return Conversation(tuple(exchanges))


def first_exchange(rng: random.Random, *, held_out: bool = False) -> Exchange:
    """One first question with its answer, drawn as `compose` draws them."""
    return _first_turn(rng, held_out).exchange


def _first_turn(rng: random.Random, held_out: bool) -> _Turn:
    while True:
        topic = rng.choices(TOPICS, _topic_weights())[0]
        thing, relation = rng.choice(topic.facts)
        exchange = topic.exchange(thing, relation, rng.randrange(len(relation.questions)))
        if is_held_out(exchange.question) == held_out:
            return _Turn(exchange, topic, thing, relation)


def _next_turn(rng: random.Random, turns: list[_Turn], *, last: bool) -> _Turn:
    moves: list[Callable[[random.Random, list[_Turn]], _Turn | None]] = [
        *(_ask_more,) * 4,
        *(_switch,) * 3,
        _new_question,
    ]
    if last:
        moves.append(_say_thanks)
    while True:
        turn = rng.choice(moves)(rng, turns)
        said = {earlier.exchange.answer for earlier in turns}
        # Later turns may not give a held-out question away either.
        if turn and turn.exchange.answer not in said and turn.exchange.question not in _held_out_questions():
            return turn


def _ask_more(rng: random.Random, turns: list[_Turn]) -> _Turn | None:
    topic, thing = turns[-1].topic, turns[-1].thing
    relations = [relation for relation in topic.relations_of(thing) if relation.follow_ups]
    if not relations:
        return None
    relation = rng.choice(relations)
    exchange = topic.follow_up(thing, relation, rng.randrange(len(relation.follow_ups)))
    return _Turn(exchange, topic, thing, relation)


def _switch(rng: random.Random, turns: list[_Turn]) -> _Turn | None:
    topic, relation = turns[-1].topic, turns[-1].relation
    things = [thing for thing in topic.things if relation.applies_to(thing)]
    if not topic.mention:
        return None
    thing = rng.choice(things)
    # The same wording index keeps the answer's form.
    exchange = topic.switched(thing, relation, rng.choice(_SWITCHES), 0)
    return _Turn(exchange, topic, thing, relation)


def _new_question(rng: random.Random, turns: list[_Turn]) -> _Turn:
    return _first_turn(rng, held_out=False)


def _say_thanks(rng: random.Random, turns: list[_Turn]) -> _Turn:
    exchange = Exchange(SMALL_TALK.name, rng.choice(_THANKS), "You are welcome! I am happy to help.", ("welcome",))
    return _Turn(exchange, SMALL_TALK, {}, SMALL_TALK.relations[0])


def _courteous(rng: random.Random, exchange: Exchange) -> Exchange:
    if rng.random() < 0.3:
        question, answer = f"{exchange.question} Thank you!", f"{exchange.answer} You are welcome!"
    else:
        opening, reply = rng.choice(tuple(_OPENINGS.items()))
        question, answer = opening + exchange.question, reply + exchange.answer
    return replace(exchange, question=question, answer=answer)


def _careless(rng: random.Random, exchange: Exchange) -> Exchange:
    """As many people type: all small letters, nothing at the end, short forms."""
    question = exchange.question.lower().rstrip(".?!")
    return replace(exchange, question=question.replace("what is", rng.choice(("what is", "what's", "whats"))))
