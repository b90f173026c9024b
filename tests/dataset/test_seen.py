"""What has occurred is known, whatever it was added with and however often."""

import random

import polars as pl

from phi_assets.dataset.seen import Seen

LARGEST = (1 << 64) - 1


def hashes(*numbers: int | None) -> pl.Series:
    return pl.Series(numbers, dtype=pl.UInt64)


def test_it_knows_what_a_set_knows() -> None:
    draw = random.Random(7)
    seen, expected = Seen(), set[int]()
    for _ in range(200):
        asked = [draw.choice((draw.randrange(3000), draw.getrandbits(64), 0, LARGEST)) for _ in range(50)]
        assert seen.has(hashes(*asked)).to_list() == [number in expected for number in asked]
        added = [draw.choice((draw.randrange(3000), draw.getrandbits(64))) for _ in range(draw.randrange(90))]
        seen.add(hashes(*added))
        expected.update(added)
    assert seen.has(hashes(*expected)).all()
    seen.add(hashes(0, LARGEST))
    assert seen.has(hashes(0, LARGEST)).all()


def test_what_is_missing_never_occurred() -> None:
    seen = Seen()
    assert seen.has(hashes(None, 0, 1)).to_list() == [False, False, False]
    seen.add(hashes(None, 0))
    seen.add(hashes(None))
    seen.add(hashes())
    assert seen.has(hashes(None, 0, 1)).to_list() == [False, True, False]
    assert seen.has(hashes()).to_list() == []
