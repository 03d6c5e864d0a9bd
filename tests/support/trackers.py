"""What error trackers and debuggers would show of an error, and of the variables of all its frames."""

import pickle
import traceback
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from rich.traceback import Traceback

from profilekit.errors import ProfileKitError

_DEEPEST = 6


def shown(error):
    """Return all that a log, a tracker or a debugger would keep of an error."""
    detailed = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = [str(error), repr(error), repr(vars(error)), *detailed.format()]
    if isinstance(error, ProfileKitError):
        texts.append(repr(pickle.dumps(error)))
    for cut in (None, 80):
        texts.append(by_rich(error, cut))
    seen = {}
    for one in all_of(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            texts.extend(leaves(dict(frame.f_locals), seen))
    return "\n".join(texts)


def all_of(error):
    """Yield an error and all that hangs on to it, also what ``from None`` hides."""
    left, seen = [error], set()
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def by_rich(error, cut):
    """Return the variables as rich shows them: it has rules of its own of what to go into."""
    stacks = Traceback.extract(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_length=None,
        locals_max_string=cut,
        locals_hide_dunder=False,
    ).stacks
    nodes = [node for stack in stacks for frame in stack.frames for node in (frame.locals or {}).values()]
    return "\n".join(node.render(max_width=1_000_000) for node in nodes)


def leaves(value, seen, depth=0):
    """Yield the repr of a value and, as Sentry and others do, of what is in it."""
    if id(value) in seen:
        return
    seen[id(value)] = value
    yield safe_repr(value)
    if depth < _DEEPEST:
        for part in parts_of(value):
            yield from leaves(part, seen, depth + 1)


def parts_of(value):
    if isinstance(value, str | bytes | bytearray | memoryview):
        return ()
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, Sequence | AbstractSet):
        return list(value)
    if is_ours(value):
        return vars(value).values()
    return ()


def is_ours(value):
    """Say whether it is of this package, whose objects are shown with their attributes by some trackers."""
    module = type(value).__module__.partition(".")[0]
    return module == "profilekit" and hasattr(value, "__dict__")


def safe_repr(value):
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
        return f"<repr failed: of a {type(value).__name__}, with {type(error).__name__}>"
