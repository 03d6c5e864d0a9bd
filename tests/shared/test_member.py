"""A member and answers made by hand: what it asks, what it gives back, what it tells."""

import pytest

from profilekit import Rate
from profilekit.shared.ledger import Answer
from profilekit.shared.member import OWN, Member

RATE = Rate(100, 1.0)
SLOT = 0.002

# The ledger's clock is this far ahead.
AHEAD = 1000.0


def member(share=0.0, rate=RATE, slot=SLOT):
    return Member(rate, slot, share)


def answer(now, permits=None, *, state="s", cold=0.0, paused=0.0, share=0.5, part=1.0):
    """Return what the ledger says; its times are given as ours."""
    return Answer(now + AHEAD, state, cold + AHEAD, paused + AHEAD, share, 2, part, permits or {})


def slot_at(time):
    return int((time + AHEAD) / SLOT)


def exchange(one, now, permits=None, *, wanted=0, took=0.001, alone=False, **fields):
    """Ask and answer."""
    question = one.question(wanted, now, alone=alone)
    one.learn(answer(now + took / 2, permits, **fields), now, now + took)
    return question


def known(now=10.0, **fields):
    """Return a member that the ledger knows."""
    one = member()
    exchange(one, now, **fields)
    return one


# ---- permits -----------------------------------------------------------------------------------


def test_a_permit_is_used_only_when_its_slot_has_surely_begun_and_has_not_surely_ended():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 1}, wanted=1)
    begins = slot * SLOT - AHEAD
    opens = one.opens(10.06)
    assert begins <= opens <= begins + 0.002
    assert not one.is_over(slot, begins + SLOT)
    assert one.opens(opens + SLOT) == opens
    # 2.2% of a window are between what counts and what does not, 1.2% of them for what is late here.
    assert one.is_over(slot, begins + SLOT + 0.012 + 1e-6)
    assert one.opens(begins + SLOT + 0.012 + 1e-6) is None


def test_permits_that_lapsed_are_given_back_once():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 3, slot + 1: 1}, wanted=4)
    one.opens(10.1)
    assert one.take() == slot
    assert not one.has_news
    question = exchange(one, 20.0)
    assert question.changes == {slot: -2, slot + 1: -1}
    assert exchange(one, 20.1).changes == {}


def test_a_permit_whose_request_never_left_is_given_back():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 1}, wanted=1)
    one.unused(one.take())
    assert one.has_news
    assert exchange(one, 10.2).changes == {slot: -1}


def test_give_backs_are_not_said_again_when_nobody_knows_whether_they_were_heard():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 1}, wanted=1)
    one.unused(one.take())
    assert one.question(0, 10.2, alone=False).changes == {slot: -1}
    one.unheard()
    assert exchange(one, 10.3).changes == {}


def test_a_request_that_left_after_its_slot_counts_where_it_left():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 1}, wanted=1)
    one.went(one.take(), 10.3)
    changes = exchange(one, 10.4).changes
    assert changes.pop(slot) == -1
    assert list(changes.values()) == [1]
    assert slot_at(10.3) <= min(changes) <= slot_at(10.3) + 1


def test_a_request_that_left_in_its_slot_is_nothing_to_tell():
    one = known()
    exchange(one, 10.05, {slot_at(10.1): 1}, wanted=1)
    one.went(one.take(), 10.103)
    assert exchange(one, 10.4).changes == {}


# ---- questions ---------------------------------------------------------------------------------


def test_the_first_question_knows_nothing():
    question = member(0.25).question(3, 10.0, alone=False)
    assert (question.state, question.wanted, question.share) == ("", 3, 0.25)
    assert (question.changes, question.pause, question.alone) == ({}, 0.0, False)
    assert question.stay > 5.0


def test_it_shows_itself_without_wanting_anything():
    assert exchange(known(), 15.0).wanted == 0


def test_what_was_used_up_grows_and_what_was_wasted_shrinks():
    one = known()
    wanted, now = [], 10.0
    for _ in range(5):
        now += 0.05
        question = one.question(1, now, alone=False)
        wanted.append(question.wanted)
        one.learn(answer(now, {slot_at(now + 0.01): question.wanted}), now, now)
        for _ in range(question.wanted):
            one.went(one.take(), now + 0.012)
    assert wanted == [2, 4, 8, 16, 32]
    exchange(one, now + 0.05, {slot_at(now + 0.06): 20}, wanted=1)
    # All of those lapse.
    assert one.question(1, now + 5.0, alone=False).wanted < 32


def test_it_asks_for_as_many_as_wait():
    assert known().question(500, 10.1, alone=False).wanted == 500
    assert known().question(10**6, 10.1, alone=False).wanted == 10_000


def test_it_asks_again_before_the_last_in_hand():
    one = known()
    exchange(one, 10.05, {slot_at(10.5): 1}, wanted=1)
    assert not one.runs_out(10.1)
    assert one.runs_out(10.495)
    assert known().runs_out(10.1)


# ---- what left alone ---------------------------------------------------------------------------


def test_what_left_alone_is_told_by_slot_even_if_the_question_is_lost():
    one = known()
    for at in (10.1, 10.1001, 10.2):
        one.went(OWN, at)
    assert sum(one.question(0, 10.3, alone=True).changes.values()) == 3
    one.unheard()
    one.went(OWN, 10.35)
    question = exchange(one, 10.4, alone=True)
    assert question.alone
    assert sum(question.changes.values()) == 4
    assert all(slot_at(10.1) <= slot <= slot_at(10.36) for slot in question.changes)
    assert exchange(one, 10.5).changes == {}


def test_what_left_longer_than_a_window_ago_is_not_told():
    one = known()
    one.went(OWN, 10.1)
    one.went(OWN, 11.5)
    assert sum(exchange(one, 12.0).changes.values()) == 1


def test_what_leaves_while_a_question_is_under_way_is_told_with_the_next():
    one = known()
    one.question(0, 10.3, alone=True)
    one.went(OWN, 10.32)
    one.learn(answer(10.31), 10.3, 10.33)
    assert sum(exchange(one, 10.4).changes.values()) == 1


def test_what_left_before_the_first_answer_is_told_after_it():
    one = member(0.25)
    for at in (10.0, 10.2):
        one.went(OWN, at)
    # Nobody can say in which slots that was.
    assert one.question(0, 10.3, alone=True).changes == {}
    one.unheard()
    assert exchange(one, 10.4, alone=True).changes == {}
    assert sum(exchange(one, 10.5, alone=True).changes.values()) == 2


def test_what_left_is_not_kept_for_longer_than_a_window():
    one = known()
    for second in range(11, 40):
        for part in range(100):
            one.went(OWN, second + part / 100)
        exchange(one, second + 0.999)
    assert one.left.count <= 101


# ---- another state -----------------------------------------------------------------------------


def test_a_ledger_that_forgot_is_told_all_that_left_within_a_window():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 4}, wanted=4)
    one.went(one.take(), 10.102)
    one.went(OWN, 10.5)
    assert exchange(one, 10.6, state="new").state == "s"
    # What is left of its block, the old ledger gave.
    assert one.opens(10.6) is None
    question = exchange(one, 10.7, state="new")
    assert question.state == "new"
    assert sum(question.changes.values()) == 2
    assert exchange(one, 10.8, state="new").changes == {}


def test_a_new_ledger_is_given_back_no_permit_of_the_old():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 3}, wanted=3)
    early, late, never = one.take(), one.take(), one.take()
    one.unused(early)
    one.question(0, 10.101, alone=False)
    one.unused(never)
    one.learn(answer(10.102, state="new"), 10.101, 10.103)
    # On its way while the ledger changed: counted, as the new one knows nothing of it.
    one.went(late, 10.104)
    one.unused(never)
    changes = exchange(one, 10.2, state="new").changes
    assert list(changes.values()) == [1]


def test_permits_of_the_new_ledger_are_given_back_to_it():
    one = known()
    exchange(one, 10.5, state="new")
    slot = slot_at(10.6)
    exchange(one, 10.55, {slot: 1}, wanted=1, state="new")
    one.unused(one.take())
    assert exchange(one, 10.7, state="new").changes == {slot: -1}


@pytest.mark.parametrize("step", [-5.0, 5.0])
def test_a_ledger_whose_clock_was_set_is_told_all_that_left_within_a_window(step):
    one = known()
    one.went(OWN, 10.1)
    assert sum(exchange(one, 10.2).changes.values()) == 1
    question = one.question(0, 10.3, alone=False)
    one.learn(answer(10.3 + step), 10.3, 10.301)
    assert question.changes == {}
    told = exchange(one, 10.4 + 0.0, took=0.001).changes
    assert sum(told.values()) == 1


# ---- pauses ------------------------------------------------------------------------------------


def test_a_refusal_is_told_until_it_is_heard_and_gives_back_what_is_in_hand():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 2}, wanted=2)
    one.hold(12.0, refused=True)
    assert one.opens(10.1) is None
    question = one.question(0, 10.1, alone=False)
    assert question.pause == pytest.approx(1.9)
    assert question.changes == {slot: -2}
    one.unheard()
    assert one.question(0, 10.5, alone=False).pause == pytest.approx(1.5)
    one.learn(answer(10.5, paused=12.0), 10.5, 10.501)
    assert one.question(0, 10.6, alone=False).pause == 0.0
    assert 12.0 <= one.paused_until <= 12.0 + SLOT


def test_a_pause_that_comes_while_a_question_is_under_way_is_told_with_the_next():
    one = known()
    one.question(1, 10.1, alone=False)
    one.hold(12.0, refused=True)
    one.learn(answer(10.1, {slot_at(10.11): 1}), 10.1, 10.101)
    assert one.paused_until == 12.0
    assert exchange(one, 10.2).pause == pytest.approx(1.8)


def test_a_pause_of_another_process_gives_back_what_is_in_hand():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 2}, wanted=2)
    one.hear(11.0 + AHEAD, 10.06)
    assert 11.0 <= one.paused_until <= 11.002
    assert one.opens(10.1) is None
    question = exchange(one, 10.2)
    assert question.pause == 0.0
    assert question.changes == {slot: -2}


def test_a_pause_in_an_answer_holds_the_permits_of_the_same_answer_back():
    one = known()
    exchange(one, 10.05, {slot_at(10.1): 2}, wanted=2, paused=13.0)
    assert one.opens(10.1) is None
    assert one.paused_until == pytest.approx(13.0, abs=0.002)


def test_no_pause_that_is_heard_lasts_for_ever():
    one = member()
    one.hear(5000.0, 10.0)
    assert one.paused_until == 0.0
    one = known()
    one.hear(1e15, 10.0)
    assert one.paused_until == 3610.0


# ---- what it is told ---------------------------------------------------------------------------


def test_it_knows_its_share_and_how_much_is_used_and_until_when_nothing_is_known():
    one = known(share=0.125, part=0.7, cold=11.0)
    assert (one.share, one.part) == (0.125, 0.7)
    assert 11.0 <= one.cold_until <= 11.002


def test_answers_that_take_too_long_are_of_no_use():
    one = member()
    exchange(one, 10.0, took=0.3)
    assert one.is_too_slow
    exchange(one, 10.5, took=0.001)
    assert not one.is_too_slow
    # It is known well enough what time it is there, even if one answer is late.
    exchange(one, 11.0, took=0.3)
    assert not one.is_too_slow


def test_a_permit_that_comes_after_its_slot_is_given_back():
    one = known()
    slot = slot_at(10.06)
    exchange(one, 10.05, {slot: 5}, wanted=5, took=0.2)
    assert one.opens(10.25) is None
    assert exchange(one, 10.3).changes == {slot: -5}


def test_after_a_long_silence_its_share_may_be_with_others():
    one = known()
    assert not one.is_forgotten(20.0)
    assert one.is_forgotten(30.0)


def test_at_the_end_it_gives_everything_back_and_tells_everything():
    one = known()
    slot = slot_at(10.1)
    exchange(one, 10.05, {slot: 3}, wanted=3)
    one.went(OWN, 10.08)
    one.unused(one.take())
    goodbye = one.goodbye()
    assert (goodbye.stay, goodbye.wanted, goodbye.state) == (0.0, 0, "s")
    assert goodbye.changes.pop(slot) == -3
    assert list(goodbye.changes.values()) == [1]


def test_one_request_an_hour_has_its_permit_for_a_while():
    slot = 7.2
    one = member(rate=Rate(1, 3600.0), slot=slot)
    one.learn(Answer(1000.0, "s", 0.0, 0.0, 1.0, 1, 1.0, {}), 10.0, 10.001)
    one.learn(Answer(1000.1, "s", 0.0, 0.0, 1.0, 1, 1.0, {int(1000 / slot): 1}), 10.1, 10.101)
    assert one.opens(10.2) <= 10.2
    assert one.opens(40.0) is not None
    assert one.opens(70.0) is None
