"""pydantic: models."""

from benchmarks.contenders import decoding
from benchmarks.contenders.pydantic_models import Answer


class Pydantic(decoding.Decoding):
    label = "pydantic"

    def decoder(self):
        return Answer.model_validate_json

    @staticmethod
    def who(answer):
        return answer.userData.user_id, answer.userData.cohort_ids


make = Pydantic
