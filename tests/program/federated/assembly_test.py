"""What a federated run reads is told by its own keys."""

import pytest

from lthjax import registry
from lthjax.program.federated import assembly, settings


def test_data_that_are_not_there_are_told_by_the_key_of_their_folder(tmp_path):
    config = settings.default()
    config.data.dir = str(tmp_path)
    with pytest.raises(ValueError, match="got data.dir = (.|\n)*data_dir=") as raised:
        assembly.load(config)
    assert registry.is_ours(raised.value)
