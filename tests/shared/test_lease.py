"""Permits in hand: in order, and only in their time."""

from profilekit.shared.lease import Lease


def lease(*slots):
    made = Lease()
    for number, permits in slots:
        made.add(number, permits, float(number), number + 1.5)
    return made


def test_the_earliest_is_taken_first_in_whatever_order_they_came():
    held = lease((7, 1), (5, 2), (6, 1))
    assert [held.take() for _ in range(4)] == [5, 5, 6, 7]
    assert held.opens() is None


def test_it_says_when_the_permit_at_a_place_may_be_used():
    held = lease((5, 2), (9, 1))
    assert [held.opens(place) for place in range(4)] == [5.0, 5.0, 9.0, None]
    assert held.last_opens == 9.0
    assert held.lapses_at == 10.5
    held.take()
    assert [held.opens(place) for place in range(3)] == [5.0, 9.0, None]


def test_an_empty_one_has_nothing_that_opens_and_nothing_to_drop():
    held = lease()
    assert held.opens() is None
    assert held.last_opens == float("-inf")
    assert held.lapses_at == float("inf")
    assert not held.lapsed(1e9)
    assert not held.drop()


def test_what_may_not_be_used_any_more_is_returned_by_slot():
    held = lease((5, 2), (6, 3), (7, 1))
    assert not held.lapsed(6.5)
    assert held.lapsed(7.6) == {5: 2, 6: 3}
    assert held.opens() == 7.0


def test_blocks_of_the_same_slot_are_returned_together():
    held = lease((5, 2), (5, 1), (6, 1))
    held.take()
    assert held.drop() == {5: 2, 6: 1}
    assert held.opens() is None
