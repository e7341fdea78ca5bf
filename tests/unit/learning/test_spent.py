"""What a run has cost: counted before it leaves, or it does not leave."""

from __future__ import annotations

import pytest

from peerd.errors import InvalidInputError
from peerd.learning import TaskError
from peerd.learning.spent import Spent
from peerd.types import RunSpec

RUN = "ab" * 16
PLAIN = RunSpec(run_id=RUN, task="digits-cnn")
CLIPPED = RunSpec(run_id=RUN, task="digits-cnn", privacy_clip=1.0)
NOISED = RunSpec(run_id=RUN, task="digits-cnn", privacy_clip=1.0, noise_multiplier=0.5)


class Ledger:
    def __init__(self, count=0, error=None):
        self.count, self.error = count, error

    async def released(self, run_id):
        assert run_id == RUN
        if self.error:
            raise self.error
        return self.count

    async def release(self, run_id):
        self.count = await self.released(run_id) + 1
        return self.count


async def test_it_goes_on_where_the_ledger_is():
    ledger = Ledger(3)
    spent = Spent(NOISED, ledger)
    assert (spent.updates, spent.epsilon) == (0, None)
    assert await spent.load() == 3
    await spent.count(12.5)
    assert (spent.updates, spent.epsilon, ledger.count) == (4, 12.5, 4)


@pytest.mark.parametrize("spec", [PLAIN, CLIPPED])
async def test_without_noise_there_is_nothing_to_count(spec):
    spent = Spent(spec, Ledger(error=AssertionError("asked")))
    assert await spent.load() == 0
    await spent.count(None)
    assert (spent.updates, spent.epsilon) == (0, None)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), InvalidInputError("corrupt")])
async def test_what_cannot_be_counted_is_an_error_of_one_line(error):
    spent = Spent(NOISED, Ledger(error=error))
    with pytest.raises(TaskError, match="what this run has cost in privacy is not known: ") as raised:
        await spent.load()
    assert "\n" not in str(raised.value)
    with pytest.raises(TaskError, match="cannot be written down, so it was not sent: "):
        await spent.count(1.0)
    assert (spent.updates, spent.epsilon) == (0, None)
