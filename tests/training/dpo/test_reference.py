"""The reference's log-probabilities on disk."""

import copy
from pathlib import Path

import torch

from reward.template import ConversationTemplate
from training.data.records import Comparison, user
from training.dpo.data import DPODataset
from training.dpo.reference import ReferenceFile, fingerprint
from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.run.run_folder import STATE_FOLDER

RECORDS = [Comparison(user("1+1?"), ("2", "3"), ranks=(0, 1)), Comparison(user("2+2?"), ("4", "5"), ranks=(0, 1))]


def dataset(records: list[Comparison]) -> DPODataset:
    return DPODataset(records, ConversationTemplate(byte_tokenizer()), 100)


def test_reference_logprobs_of_other_weights_or_pairs_are_not_reused() -> None:
    first, second = (fresh_policy(byte_tokenizer(), seed=seed) for seed in (0, 1))
    both, swapped = dataset(RECORDS), dataset(RECORDS[::-1])
    known = fingerprint(first, [both])
    assert known == fingerprint(copy.deepcopy(first), [dataset(RECORDS)])
    assert known != fingerprint(second, [both])
    assert known != fingerprint(first, [swapped])


def test_what_was_written_is_read_for_the_same_weights_and_pairs_only(tmp_path: Path) -> None:
    first, second = (fresh_policy(byte_tokenizer(), seed=seed) for seed in (0, 1))
    (tmp_path / STATE_FOLDER).mkdir()
    logprobs = [torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])]
    file = ReferenceFile(tmp_path, first, [dataset(RECORDS)])
    assert file.read() is None
    file.write(logprobs)
    found = ReferenceFile(tmp_path, first, [dataset(RECORDS)]).read()
    assert found is not None
    assert torch.equal(found[0], logprobs[0])
    assert ReferenceFile(tmp_path, second, [dataset(RECORDS)]).read() is None
