import contextlib
import io
import math

import numpy as np
import pytest

from lthjax.analysis import average_precision, overlaps

SIDE = 40
RNG = np.random.default_rng


def image(similar, scores, truth, **fields):
    d, g = len(scores), len(truth)
    given = {
        "classes": np.zeros(d, int),
        "areas": np.ones(d),
        "true_areas": np.ones(g),
        "crowd": np.zeros(g, bool),
        "ignored": np.zeros(g, bool),
    } | fields
    similar = np.array(similar, float).reshape(d, g)
    return average_precision.Image(
        similar, np.array(scores, float), true_classes=np.array(truth), **given
    )


def test_what_is_all_found_and_nothing_else_is_worth_one():
    found = [image(np.eye(2), [0.9, 0.8], [0, 0]), image([[1]], [0.1], [0])]
    ap, recall = average_precision.precisions(found)
    np.testing.assert_allclose(ap, 1)
    assert (recall == 1).all()


@pytest.mark.parametrize("kind", [int, float])
def test_what_is_ignored_may_be_said_by_numbers(kind):
    def pair(kind):
        flags = {"crowd": np.zeros(2, kind), "ignored": np.array([0, 1], kind)}
        return [image(np.eye(2), [0.9, 0.8], [0, 0], true_areas=np.arange(2), **flags)]

    expected = average_precision.summary(pair(bool), (1.0, 2.0))
    assert average_precision.summary(pair(kind), (1.0, 2.0)) == pytest.approx(
        expected, nan_ok=True
    )
    assert average_precision.terciles(pair(kind)) == (0.0, 0.0)


def test_a_find_without_a_score_does_not_count():
    found = [image(np.eye(2), [0.9, np.nan], [0, 0])]
    assert average_precision.precisions(found)[1].max() == 0.5


def test_a_wrong_find_ranked_first_halves_the_precision():
    ap, recall = average_precision.precisions([image([[0], [1]], [0.9, 0.8], [0])])
    np.testing.assert_allclose(ap, 0.5)
    assert (recall == 1).all()


def test_what_is_missed_costs_the_recalls_above():
    ap, recall = average_precision.precisions([image([[1, 0]], [0.9], [0, 0])])
    np.testing.assert_allclose(ap, 51 / 101)  # recalls 0, 0.01, ..., 0.5
    np.testing.assert_allclose(recall, 0.5)


def test_a_second_find_of_one_object_is_wrong():
    ap, _ = average_precision.precisions([image([[1], [1]], [0.8, 0.9], [0])])
    np.testing.assert_allclose(ap, 1)
    found = image([[1, 0], [1, 0], [0, 1]], [0.9, 0.8, 0.7], [0, 0])
    ap, _ = average_precision.precisions([found])
    np.testing.assert_allclose(ap, (51 + 50 * 2 / 3) / 101)


def test_what_need_not_be_found_neither_helps_nor_costs():
    crowd = np.array([True])
    found = image([[1], [1]], [0.9, 0.8], [0], crowd=crowd, ignored=crowd)
    other = image([[1]], [0.5], [0])
    ap, _ = average_precision.precisions([found, other])
    np.testing.assert_allclose(ap, 1)


def test_of_a_class_that_is_nowhere_nothing_is_known():
    ap, recall = average_precision.precisions([image(np.zeros((1, 0)), [0.9], [])])
    assert ap.shape == recall.shape == (10, 0)
    assert math.isnan(average_precision.summary([], (0.0, 0.0))["ap"])


def test_terciles_part_the_objects_in_three():
    given = image(np.zeros((0, 6)), [], [0] * 6, true_areas=np.arange(1.0, 7.0))
    low, high = average_precision.terciles([given])
    assert sum(given.true_areas <= low) == sum(given.true_areas > high) == 2


# What follows holds ours against pycocotools on random sets of boxes, masks and points.


def rectangle(rng):
    x, y, w, h = rng.integers(0, SIDE // 2, 4)
    return np.array([x, y, x + w + 2, y + h + 2], float)


def masks_of(boxes):
    rows = np.arange(SIDE)
    x0, y0, x1, y1 = (boxes[:, i, None] for i in range(4))
    across = (rows >= x0) & (rows < x1)
    down = (rows >= y0) & (rows < y1)
    return down[:, :, None] & across[:, None, :]


def scene(seed, points):
    """Random objects, and finds that are objects moved a little, or nothing."""
    rng = RNG(seed)
    number = int(rng.integers(0, 6))
    truth = np.array([rectangle(rng) for _ in range(number)]).reshape(-1, 4)
    jitter = rng.integers(-2, 3, truth.shape)
    moved = truth + jitter
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    finds = np.concatenate([moved, truth[:2], [rectangle(rng) for _ in range(3)]])
    where = rng.uniform(0, SIDE, (number, points, 2))
    seen = rng.integers(0, 3, (number, points, 1))
    where = np.concatenate([where, seen], axis=-1)
    near = where[..., :2] + rng.normal(0, 2, (number, points, 2))
    more = rng.uniform(0, SIDE, (len(finds) - number, points, 2))
    classes = rng.integers(0, 2, number)
    said = np.concatenate([classes, classes[:2], rng.integers(0, 2, 3)])
    return {
        "truth": truth,
        "classes": classes,
        "crowd": rng.uniform(size=number) < 0.2,
        "finds": finds,
        "found": said,
        "scores": rng.choice(np.linspace(0.1, 1, 7), len(finds)),
        "points": where,
        "near": np.concatenate([near, more]),
    }


SCENES = [scene(seed, 5) for seed in range(12)]
SIGMAS = (0.05, 0.1, 0.2, 0.15, 0.3)


def areas_of(boxes):
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def ours(kind):
    found = []
    for s in SCENES:
        areas, ignored = areas_of(s["truth"]), s["crowd"]
        own = areas_of(s["finds"])
        if kind == "bbox":
            similar = overlaps.box_overlaps(s["finds"], s["truth"], s["crowd"])
        elif kind == "segm":
            pair = masks_of(s["finds"]), masks_of(s["truth"])
            similar, own = (
                overlaps.mask_overlaps(*pair, s["crowd"]),
                pair[0].sum((1, 2)),
            )
        else:
            given = s["near"], s["points"], s["truth"], areas, SIGMAS
            similar = overlaps.point_similarities(*given)
            own = (s["near"].max(1) - s["near"].min(1)).prod(1)
            ignored = ignored | ((s["points"][..., 2] > 0).sum(1) == 0)
        given = similar, s["scores"], s["found"], own, s["classes"], areas
        found.append(average_precision.Image(*given, s["crowd"], ignored))
    return found


def theirs(kind, bounds):
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools import mask as coding
    from pycocotools.cocoeval import COCOeval

    def coded(mask):
        return coding.encode(np.asfortranarray(mask.astype(np.uint8)))

    def flat(box):
        return [*box[:2], *(box[2:] - box[:2])]

    truth, finds = [], []
    for i, s in enumerate(SCENES):
        for j, (box, mask) in enumerate(
            zip(s["truth"], masks_of(s["truth"]), strict=True)
        ):
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": i,
                    "category_id": int(s["classes"][j]),
                    "bbox": flat(box),
                    "area": float(areas_of(box[None])[0]),
                    "iscrowd": int(s["crowd"][j]),
                    "segmentation": coded(mask),
                    "keypoints": s["points"][j].reshape(-1).tolist(),
                    "num_keypoints": int((s["points"][j, :, 2] > 0).sum()),
                }
            )
        for j, (box, mask) in enumerate(
            zip(s["finds"], masks_of(s["finds"]), strict=True)
        ):
            near = np.concatenate([s["near"][j], np.ones((5, 1))], 1).reshape(-1)
            own = {"bbox": {"bbox": flat(box)}, "segm": {"segmentation": coded(mask)}}
            own["keypoints"] = {"keypoints": near.tolist()}
            head = {"image_id": i, "category_id": int(s["found"][j])}
            finds.append({**head, "score": float(s["scores"][j]), **own[kind]})
    base = coco.COCO()
    base.dataset = {
        "info": {},
        "images": [
            {"id": i, "height": SIDE, "width": SIDE} for i in range(len(SCENES))
        ],
        "categories": [{"id": 0}, {"id": 1}],
        "annotations": truth,
    }
    base.createIndex()
    judge = COCOeval(base, base.loadRes(finds), kind)
    low, high = bounds
    judge.params.areaRng = [[0, 1e10], [0, low], [low, high], [high, 1e10]]
    judge.params.areaRngLbl = ["all", "small", "medium", "large"]
    judge.params.maxDets = [100]
    judge.params.kpt_oks_sigmas = np.array(SIGMAS)
    judge.evaluate()
    judge.accumulate()
    return judge.eval


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_precision_and_recall_are_those_of_pycocotools(kind):
    pytest.importorskip("pycocotools")
    images = ours(kind)
    bounds = average_precision.terciles(images)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = theirs(kind, bounds)
    low, high = bounds
    ranges = average_precision.ALL, (0, low), (low, high), (high, math.inf)
    for i, areas in enumerate(ranges):
        ap, recall = average_precision.precisions(images, areas=areas)
        precision = expected["precision"][:, :, :, i, 0].mean(1)
        np.testing.assert_allclose(np.nan_to_num(ap, nan=-1), precision, atol=1e-6)
        known = expected["recall"][:, :, i, 0]
        np.testing.assert_allclose(np.nan_to_num(recall, nan=-1), known, atol=1e-6)
    assert 0.1 < average_precision.summary(images, bounds)["ap50"] < 0.99
