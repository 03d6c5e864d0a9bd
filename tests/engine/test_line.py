"""Interactive callers before those of a list, each in order, and nobody for ever last."""

import asyncio

from profilekit.engine.line import Line


def served(line, count):
    order = []
    while len(order) < count and (turn := line.first()) is not None:
        order.append(turn.name)
        line.served(turn)
    return order


def queue(line, names, *, bulk):
    turns = {}
    for name in names:
        turn = turns[name] = asyncio.get_running_loop().create_future()
        turn.name = name
        line.join(turn, bulk=bulk)
    return turns


class Turn(asyncio.Future):
    name = ""


async def test_interactive_callers_go_first_and_each_in_order(monkeypatch):
    monkeypatch.setattr(asyncio.get_running_loop(), "create_future", Turn, raising=False)
    line = Line()
    queue(line, ["b1", "b2"], bulk=True)
    queue(line, ["i1", "i2"], bulk=False)
    assert len(line) == 4
    assert served(line, 9) == ["i1", "i2", "b1", "b2"]
    assert len(line) == 0


async def test_a_list_is_not_kept_waiting_for_ever(monkeypatch):
    monkeypatch.setattr(asyncio.get_running_loop(), "create_future", Turn, raising=False)
    line = Line()
    queue(line, ["b1", "b2"], bulk=True)
    queue(line, [f"i{number}" for number in range(60)], bulk=False)
    order = served(line, 99)
    assert (order.index("b1"), order.index("b2")) == (20, 41)


async def test_who_was_cancelled_loses_the_turn(monkeypatch):
    monkeypatch.setattr(asyncio.get_running_loop(), "create_future", Turn, raising=False)
    line = Line()
    turns = queue(line, ["i1", "i2"], bulk=False) | queue(line, ["b1"], bulk=True)
    turns["i1"].cancel()
    assert line.first() is turns["i2"]
    assert line.leave(turns["i2"])
    assert not line.leave(turns["i2"])
    assert served(line, 9) == ["b1"]
