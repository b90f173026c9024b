"""The shape of knowledge: topics hold things with facts, relations hold the wordings that ask for a fact."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

HELD_OUT_ONE_IN = 8

Fields = dict[str, str]


@dataclass(frozen=True, eq=False)
class Relation:
    """One kind of fact, such as the capital of a country.

    Texts are `str.format` templates over a thing's fields. The question with index i gets the answer with index
    i modulo the number of answers, so one question always has one answer.
    """

    keywords: tuple[str, ...]
    """What a right answer must say."""
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    follow_ups: tuple[str, ...] = ()
    """Questions that leave out the thing, because an earlier turn named it."""

    def applies_to(self, fields: Fields) -> bool:
        """Whether the thing has every fact that this relation speaks about."""
        return all(fields.get(name) for name in self._needed)

    @cached_property
    def _needed(self) -> frozenset[str]:
        templates = (*self.keywords, *self.questions, *self.answers)
        return frozenset(name for template in templates for name in re.findall(r"\{(\w+)\}", template))


@dataclass(frozen=True)
class Exchange:
    """One question with its answer."""

    topic: str
    question: str
    answer: str
    keywords: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Topic:
    """Things of one kind, their facts, and the relations that can be asked about them."""

    name: str
    things: tuple[Fields, ...]
    relations: tuple[Relation, ...]
    mention: str = ""
    """How a later turn names another thing of the topic, such as `a {name}`; empty if that makes no sense."""
    weight: float = 1.0
    """How much more often than its number of facts says the topic is talked about."""

    @cached_property
    def facts(self) -> tuple[tuple[Fields, Relation], ...]:
        """Every (thing, relation) that has an answer."""
        return tuple((thing, rel) for rel in self.relations for thing in self.things if rel.applies_to(thing))

    def relations_of(self, thing: Fields) -> list[Relation]:
        """The relations that this thing has facts for."""
        return [relation for relation in self.relations if relation.applies_to(thing)]

    def exchanges(self) -> Iterator[Exchange]:
        """Every first question that the topic can ask, with its answer."""
        for thing, relation in self.facts:
            for wording in range(len(relation.questions)):
                yield self.exchange(thing, relation, wording)

    def exchange(self, thing: Fields, relation: Relation, wording: int) -> Exchange:
        """The question in one of its wordings, with its answer."""
        return self._filled(thing, relation, relation.questions[wording], wording)

    def follow_up(self, thing: Fields, relation: Relation, wording: int) -> Exchange:
        """The question without the thing's name, for a turn after one that named it."""
        return self._filled(thing, relation, relation.follow_ups[wording], wording)

    def switched(self, thing: Fields, relation: Relation, template: str, wording: int) -> Exchange:
        """The same fact asked of another thing, for example `And Spain?`."""
        return self._filled(thing, relation, template.replace("{}", self.mention), wording)

    def _filled(self, thing: Fields, relation: Relation, question: str, wording: int) -> Exchange:
        answer = relation.answers[wording % len(relation.answers)]
        keywords = tuple(part for key in relation.keywords for part in key_phrases(key.format_map(thing)))
        return Exchange(self.name, sentence(question, thing), sentence(answer, thing), keywords)


def table(columns: str, text: str) -> tuple[Fields, ...]:
    """Things from lines of cells separated by `|`; `a_<column>` gives each cell its indefinite article."""
    names = columns.split()
    things = []
    for line in text.strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != len(names):
            raise ValueError(f"{len(cells)} cells where {len(names)} are needed ({columns}): {line!r}")
        fields = dict(zip(names, cells, strict=True))
        things.append(fields | {f"a_{name}": with_article(cell) for name, cell in fields.items() if cell})
    return tuple(things)


def joined(left: tuple[Fields, ...], right: tuple[Fields, ...]) -> tuple[Fields, ...]:
    """The things of two tables that list the same names in the same order, each with the facts of both."""
    for one, other in zip(left, right, strict=True):
        if one["name"] != other["name"]:
            raise ValueError(f"{one['name']!r} stands beside {other['name']!r}")
    return tuple(one | other for one, other in zip(left, right, strict=True))


def with_article(noun: str) -> str:
    """`a cat`, `an owl`."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def sentence(template: str, fields: Fields) -> str:
    """The filled template with a capital first letter."""
    text = template.format_map(fields)
    return text[0].upper() + text[1:]


def key_phrases(value: str) -> tuple[str, ...]:
    """The parts of a fact that an answer has to name: `flour, milk and eggs` has three."""
    return tuple(part for part in re.split(r", and |, | and ", value.rstrip(".")) if part)


def is_held_out(question: str) -> bool:
    """Whether a bare question (no greeting, no thanks) is kept from all training, by its CRC-32."""
    return zlib.crc32(question.encode()) % HELD_OUT_ONE_IN == 0
