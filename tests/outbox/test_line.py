"""Who may go next, without a file and without an event loop."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilekit.outbox.line import Line
from profilekit.outbox.rows import Row


def line_of(*ids, merge=True):
    line = Line(merge=merge)
    line.add(Row(seq, 100.0 + seq, tuple(names)) for seq, names in enumerate(ids, 1))
    return line


def test_users_go_side_by_side_and_each_in_order():
    line = line_of("a", "b", "a", "c", merge=False)
    assert line.take(0, 10) == [[1], [2], [4]]
    assert line.take(0, 10) == []
    line.remove([1])
    assert line.take(0, 10) == [[3]]
    assert len(line) == 3


def test_the_oldest_go_first_and_not_more_than_asked():
    line = line_of("a", "b", "c", merge=False)
    assert line.take(0, 2) == [[1], [2]]
    assert line.take(0, 2) == [[3]]


def test_one_that_is_about_two_ids_waits_in_both_lines():
    line = line_of("a", "b", "ab", "a", "b", merge=False)
    assert line.take(0, 10) == [[1], [2]]
    line.remove([2])
    assert line.take(0, 10) == []
    line.remove([1])
    assert line.take(0, 10) == [[3]]
    line.remove([3])
    assert line.take(0, 10) == [[4], [5]]


def test_rows_of_the_same_ids_go_together():
    line = line_of("ab", "ab", "c", "ab", "a", "ab")
    assert line.take(0, 10) == [[1, 2, 4], [3]]
    line.remove([1, 2, 4])
    assert line.take(0, 10) == [[5]]
    line.remove([5])
    assert line.take(0, 10) == [[6]]


def test_another_one_between_them_keeps_them_apart():
    assert line_of("ab", "b", "ab").take(0, 10) == [[1]]
    assert line_of("ab", "ba").take(0, 10) == [[1]]


def test_at_most_100_go_together():
    line = line_of(*["a"] * 250)
    assert line.take(0, 10) == [list(range(1, 101))]
    line.remove(range(1, 101))
    assert line.take(0, 10) == [list(range(101, 201))]


def test_one_that_was_parted_goes_alone():
    line = line_of("a", "a", "a", "a")
    line.part([1, 2])
    assert line.take(0, 10) == [[1]]
    line.remove([1])
    assert line.take(0, 10) == [[2]]
    line.remove([2])
    assert line.take(0, 10) == [[3, 4]]


def test_one_that_was_put_back_keeps_its_place_and_waits():
    line = line_of("a", "a", "b", merge=False)
    assert line.take(0, 10) == [[1], [3]]
    line.put_back(1, 5.0)
    line.put_back(3, 3.0)
    assert line.next_due() == 3.0
    assert line.take(2.9, 10) == []
    assert line.take(3.0, 10) == [[3]]
    assert line.next_due() == 5.0
    assert line.take(5.0, 10) == [[1]]
    assert line.next_due() is None


def test_what_comes_meanwhile_goes_with_the_next_attempt():
    line = line_of("a")
    assert line.take(0, 10) == [[1]]
    line.add([Row(2, 0.0, ("a",))])
    line.put_back(1, 0.0)
    assert line.take(0, 10) == [[1, 2]]


def test_rows_about_nobody_wait_for_nobody():
    line = line_of("", "", "a")
    assert line.take(0, 10) == [[1], [2], [3]]
    line.remove([2, 1, 3])
    assert len(line) == 0


def test_the_oldest_is_the_one_that_was_put_first():
    line = line_of("a", "b")
    assert line.oldest.put_at == 101.0
    line.remove([1])
    assert line.oldest.seq == 2
    line.remove([2])
    assert line.oldest is None


@pytest.mark.parametrize("merge", [True, False])
@given(
    ids=st.lists(st.lists(st.sampled_from("abcd"), max_size=3, unique=True), max_size=30),
    seed=st.integers(0, 1000),
)
def test_whatever_happens_each_row_goes_once_and_after_all_it_waits_for(merge, ids, seed):
    draw, line = random.Random(seed), line_of(*ids, merge=merge)
    under_way, done = [], []
    while len(line):
        under_way += line.take(0, draw.randint(1, 5))
        group = under_way.pop(draw.randrange(len(under_way)))
        if draw.random() < 0.3:
            line.put_back(group[0], 0)
            continue
        for seq in group:
            earlier = [other for other in range(1, seq) if set(ids[other - 1]) & set(ids[seq - 1])]
            assert set(earlier) <= set(done) | set(group)
        done += group
        line.remove(group)
    assert sorted(done) == list(range(1, len(ids) + 1))
