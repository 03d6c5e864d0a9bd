"""The answer as a type, for those contenders that come with msgspec."""

import msgspec

from profilekit import amplitude


class Answer(msgspec.Struct, gc=False):
    userData: amplitude.Profile
