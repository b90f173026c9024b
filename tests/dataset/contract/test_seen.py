"""What has occurred is known, whatever it was added with and however often."""

import random

import numpy as np

from phi_assets.dataset.contract.seen import MISSING, Seen, occur_twice

LARGEST = (1 << 64) - 1


def hashes(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.uint64)


def test_it_knows_what_a_set_knows() -> None:
    draw = random.Random(7)
    seen, expected = Seen(), set[int]()
    for _ in range(200):
        asked = [draw.choice((draw.randrange(1, 3000), draw.getrandbits(64), 1, LARGEST)) for _ in range(50)]
        assert seen.has(hashes(*asked)).tolist() == [number in expected for number in asked]
        added = [draw.choice((draw.randrange(1, 3000), draw.getrandbits(64))) for _ in range(draw.randrange(90))]
        seen.add(hashes(*added))
        expected.update(added)
    assert seen.has(hashes(*expected)).all()
    seen.add(hashes(1, LARGEST))
    assert seen.has(hashes(1, LARGEST)).all()


def test_what_is_missing_never_occurred() -> None:
    seen = Seen()
    assert seen.has(hashes(MISSING, 1)).tolist() == [False, False]
    seen.add(hashes(MISSING, 2))
    seen.add(hashes(MISSING))
    seen.add(hashes())
    assert seen.has(hashes(MISSING, 1, 2)).tolist() == [False, False, True]
    assert seen.has(hashes()).tolist() == []


def test_which_occur_twice() -> None:
    asked = hashes(5, MISSING, 7, 5, LARGEST, MISSING, 9, LARGEST, LARGEST, 1)
    assert occur_twice(asked).tolist() == [True, False, False, True, True, False, False, True, True, False]
    assert occur_twice(hashes(3, 1, 2, MISSING, MISSING)).tolist() == [False] * 5
    assert occur_twice(hashes()).tolist() == []
