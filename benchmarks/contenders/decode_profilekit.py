"""profilekit: the vendor's Struct."""

from benchmarks.contenders import decoding
from profilekit import amplitude, userflux
from profilekit.engine import wire


class Typed(decoding.Decoding):
    label = "profilekit, typed"
    into = None

    def decoder(self):
        vendor = userflux if self.of_userflux else amplitude
        return wire.decoder_for(vendor.GetProfile, self.into).decode

    @staticmethod
    def who(profile):
        if isinstance(profile, userflux.Profile):
            return profile.id, profile.segments
        return profile.user_id, profile.cohort_ids


make = Typed
