"""When everything is held back, and when one goes to see."""

from profilekit.outbox.gate import Gate


def probe(gate, now):
    assert gate.admits(now)
    assert gate.go()
    assert not gate.admits(now + 1e9)
    assert gate.next_due() is None
    gate.back()


def test_it_is_open_at_first():
    gate = Gate()
    assert gate.admits(0)
    assert not gate.go()
    assert (gate.why, gate.is_held) == (None, False)


def test_it_is_held_from_a_second_to_five_minutes():
    gate, now, pauses = Gate(), 0.0, []
    assert gate.hold(now, "no", again=False)
    for _ in range(12):
        pauses.append(gate.next_due() - now)
        assert not gate.admits(now)
        now = gate.next_due()
        probe(gate, now)
        assert not gate.hold(now, "still no", again=True)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert gate.why == "still no"


def test_those_that_were_under_way_when_it_was_held_change_nothing():
    gate = Gate()
    gate.hold(10.0, "no", again=False)
    assert not gate.hold(10.5, "no", again=False)
    assert gate.next_due() == 11.0


def test_it_opens_when_a_probe_gets_through():
    gate = Gate()
    gate.hold(0.0, "no", again=False)
    probe(gate, 1.0)
    assert gate.open()
    assert gate.admits(1.0)
    assert not gate.go()
    # From the beginning, the next time.
    assert gate.hold(5.0, "no", again=False)
    assert gate.next_due() == 6.0


def test_a_fence_ends_by_itself_and_one_goes_to_see():
    gate = Gate()
    gate.fence(0.0, 5.0, "down")
    assert (gate.why, gate.is_held) == ("down", False)
    assert not gate.admits(4.9)
    probe(gate, 5.0)
    gate.wait(5.1)
    probe(gate, 5.1)
    gate.fence(5.2, None, "down")
    assert gate.next_due() == 6.2
    probe(gate, 6.2)
    assert not gate.open()
    assert gate.why is None


def test_a_probe_that_says_nothing_of_the_account_leaves_it_held():
    gate = Gate()
    gate.hold(0.0, "no", again=False)
    probe(gate, 1.0)
    gate.wait(1.5)
    assert gate.is_held
    assert gate.next_due() == 2.5
