import jax
import numpy as np

from lthjax.program.report import pictures

IMAGES = np.zeros((2, 16, 16, 1), np.uint8)
NONE = [-1.0] + [0.0] * 12


def test_boxes_and_points_lie_where_the_labels_say():
    row = [3.0, 0.25, 0.25, 0.5, 0.75, 0.1, 0.0, 0.5, 0.5, 1.0, 0.9, 0.9, 0.0]
    labels = np.array([[row, NONE], [NONE, NONE]], np.float32)
    shown = pictures.figure(IMAGES, {"what is there": pictures.of_labels(labels)})
    first, second = shown.axes
    (box,) = first.patches
    # Pixel i reaches from i - 1/2 to i + 1/2.
    assert (box.get_x(), box.get_y(), box.get_width()) == (3.5, 3.5, 4.0)
    assert [text.get_text() for text in first.texts] == ["3"]
    np.testing.assert_array_equal(first.lines[0].get_xydata(), [[7.5, 7.5]])
    assert not second.patches and first.get_title() == "what is there"


def test_finds_that_are_sure_are_drawn_and_pixels_in_their_class():
    maps = np.full((2, 4, 4, 3 + 4), -9.0, np.float32)
    maps[..., 3:] = 1.0  # sizes of a pixel of the maps, a quarter; offsets
    maps[0, 1, 2, 1] = 2.0
    draw = pictures.of_outputs(jax.numpy.asarray(maps), "detection")
    logits = jax.nn.one_hot(np.ones((2, 16, 16), int), 3)
    columns = {"boxes": draw, "pixels": pictures.of_outputs(logits, "segmentation")}
    shown = pictures.figure(IMAGES, columns)
    assert [len(axes.patches) for axes in shown.axes] == [1, 0, 0, 0]
    assert [text.get_text() for text in shown.axes[0].texts] == ["1"]
    assert (shown.axes[1].images[1].get_array() == 1).all()
