"""What a compiled program is handed has the size of the data, not of a key."""

import numpy as np
import pytest
import tiny

from lthjax.program.build import data
from lthjax.program.run import experiment


@pytest.mark.parametrize(
    "asked, images, devices, taken",
    [
        (10**8, (16, 700), 1, 700),
        (10**8, (700, 16), 4, 700),
        (10**8, (16, 701), 4, 704),
        (600, (16, 701), 1, 600),
        (10**8, (16, 20), 1, 20),
        (500, (16, 20), 1, 500),  # as it was, to the last digit
        (8, (16, 20), 1, 8),
    ],
)
def test_no_more_images_are_evaluated_at_once_than_there_are(
    asked, images, devices, taken
):
    validation, test = images
    config = tiny.config(
        {
            "eval_batch": asked,
            "mesh.data": devices,
            "data.validation": validation,
            "data.options": {"train": validation + 16, "test": test},
        }
    )
    source = experiment.load(config)
    assert data.chunk(config, source) == taken
    lying = data.run_data(config, source).lying
    held_out, tested = lying.validation[0], lying.test[0]
    assert {held_out.shape[1], tested.shape[1]} == {taken}
    assert np.asarray(tested).nbytes <= 2 * 64 * max(taken, test)
