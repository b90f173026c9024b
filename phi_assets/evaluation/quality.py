"""What can be told of an answer by itself: whether it is one, whether it refuses, whether it goes round in circles."""

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_LETTER_RUN = re.compile(r"([^\W_])\1{29,}")
"""No word of any language has a letter thirty times in a row."""

_NGRAM = 4
_LONG_ENOUGH = 12
"""Words below which repetition is style: "Row, row, row your boat"."""
_MAX_REPETITION = 0.5
"""Lists and recipes repeat up to a third of their word sequences, a model in a loop nearly all."""

_ROUNDS = 4
"""How often a loop has to be gone through at the end of an answer to be one."""
_LONGEST_LOOP = 16
_LOOPED_LETTERS = 40
_ALL_LOOP = 6
"""Words that are enough where the whole answer is a loop."""

_MIN_LETTERS, _TEXT_SIZE = 0.2, 20
_MAX_UNREADABLE = 0.1

# The phrases with which English-speaking assistants decline, after a possible apology.
_REFUSAL = re.compile(
    r"""^\W*
    (?: (?:i'm|i\ am) \s+ (?:(?:very|really|so)\s+)? (?:sorry|afraid) \b [\s,.;:-]* (?:(?:but|that|as)\b)?
      | sorry \b [\s,.;:-]* (?:but\b)?
      | i\ apologi[sz]e \b [^.]{0,40} [\s,.;:-]+ (?:but\b)?
      | unfortunately \b
    )? [\s,]*
    (?: i\ (?:can\ ?not|can't|could\ ?n't|won't|will\ not|am\ not\ able|am\ unable) \b
      | i'm\ (?:not\ able|unable) \b
      | i\ (?:do\ not|don't)\ have\ (?:access|the\ ability|the\ capability) \b
      | (?:as|i'm|i\ am) \s+ (?:(?:just|only)\s+)? an? \s+ (?:ai|artificial\ intelligence|language\ model) \b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def answer_problem(text: str) -> str | None:
    """Why the text cannot be the answer to any question, in a few words; None where it may be one.

    Short answers are answers. What only knowledge of the question would show is not found.
    """
    if is_empty(text):
        return "empty"
    characters = "".join(text.split())
    unreadable = sum(character == "\ufffd" or not character.isprintable() for character in characters)
    if unreadable > _MAX_UNREADABLE * len(characters):
        return f"{unreadable} of {len(characters)} characters cannot be read"
    letters = [character for character in characters.lower() if character.isalnum()]
    if not letters or (len(characters) >= _TEXT_SIZE and len(letters) < _MIN_LETTERS * len(characters)):
        return "hardly any letters or digits"
    run = _LETTER_RUN.search(text)
    if run:
        return f"{run.group(1)!r} {len(run.group())} times in a row"
    return _repetition_problem(_words(text), letters)


def is_empty(text: str) -> bool:
    """Whether there is nothing but white space."""
    return not text.strip()


def is_refusal(text: str) -> bool:
    """Whether the answer begins with one of the phrases in which English-speaking assistants decline."""
    return bool(_REFUSAL.match(text.replace("\u2019", "'")))


def repetition(text: str) -> float:
    """Share of the answer's sequences of four words that it has used before, 0 to 1.

    Known as `seq-rep-4`: Welleck et al., Neural Text Generation with Unlikelihood Training, 2019.
    """
    words = _words(text)
    ngrams = Counter(zip(*(words[start:] for start in range(_NGRAM)), strict=False))
    return 1 - len(ngrams) / ngrams.total() if ngrams else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _repetition_problem(words: Sequence[str], letters: Sequence[str]) -> str | None:
    looped = _looped(words)
    if looped >= _LONG_ENOUGH or (looped == len(words) >= _ALL_LOOP):
        return f"its last {looped} words are a loop"
    looped = _looped(letters)
    if looped >= _LOOPED_LETTERS:
        return f"its last {looped} letters are a loop"
    share = repetition(" ".join(words))
    if len(words) >= _LONG_ENOUGH and share > _MAX_REPETITION:
        return f"{share:.0%} of its sequences of {_NGRAM} words are repeated"
    return None


def _looped(units: Sequence[str]) -> int:
    """How many units at the end say the same few again and again; 0 where they do not."""
    for period in range(1, _LONGEST_LOOP + 1):
        repeated = 0
        while repeated + period < len(units) and units[-1 - repeated] == units[-1 - repeated - period]:
            repeated += 1
        if repeated + period >= _ROUNDS * period:
            return repeated + period
    return 0
