"""profilekit's stream with an observer that does nothing."""

from benchmarks.contenders import profilekit_stream


class Idle:
    def began(self, attempt):
        return None

    def ended(self, attempt):
        pass

    def changed(self, event):
        pass


class Observed(profilekit_stream.ProfileKit):
    label = "profilekit stream, an observer that does nothing"
    observer = Idle()


make = Observed
