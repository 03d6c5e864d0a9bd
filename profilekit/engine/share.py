"""Which share of a quota is ours, where others use it too: less after each refusal, slowly more after."""

__all__ = ["Share"]

_LEFT_AFTER_REFUSAL = 0.7
_MORE_A_WINDOW = 0.05
_LEAST = 0.01


class Share:
    """Additive increase, multiplicative decrease, as TCP finds its share of a line.

    Attributes:
        part: What may be used of the quota, from 0 to 1.
    """

    def __init__(self) -> None:
        """Start with all of it."""
        self.part = 1.0

    def refused(self) -> None:
        """Use less: the vendor said that the quota was used up."""
        self.part = max(_LEAST, self.part * _LEFT_AFTER_REFUSAL)

    def window_passed(self) -> None:
        """Try a little more, after a window in which nothing was refused."""
        self.part = min(1.0, self.part + _MORE_A_WINDOW)
