"""Dots in JSON: COCO, Labelme, Label Studio. In all of them the origin is the corner of the image.

QuPath's GeoJSON is in `cellapp.dot_qupath`.
"""

import json
import math
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

from cellapp.dot_model import Content, Dots, Gather, centroid, middle_of
from cellapp.dot_pairing import IMAGE_SUFFIXES, last_part
from cellapp.dot_rle import middle_of_runs
from cellapp.errors import DotsError
from cellapp.image_files import clean

MAX_PEOPLE = 200                                            # whose annotations of one image are read
_SHAPES = ("keypointlabels", "rectanglelabels", "ellipselabels", "polygonlabels")   # of Label Studio


def is_coco(content: Content) -> bool:
    return isinstance(content.json, dict) and {"images", "annotations"} <= content.json.keys()


def is_labelme(content: Content) -> bool:
    return isinstance(content.json, dict) and "shapes" in content.json


def is_label_studio(content: Content) -> bool:
    tasks = _tasks(content.json)
    return bool(tasks) and all(isinstance(task, dict) for task in tasks) and any(
        {"annotations", "completions"} & task.keys() or _flat_results(task) for task in tasks)


def read_coco(content: Content) -> list[Dots]:
    """One dot per annotation: its visible keypoint, or else the middle of its box or of its outline."""
    data, gather = content.json, Gather(content.name, corner=True)
    names = {row["id"]: row.get("name") for row in data.get("categories") or []}
    images = {}
    for row in data["images"]:
        name = gather.image(row["file_name"], (row.get("height"), row.get("width")))
        if name in images.values():
            raise DotsError(f"{content.name}: two of its images are named {name}; give them different names.")
        images[row["id"]] = name
    for number, row in enumerate(data["annotations"], 1):
        where = f"annotation {row.get('id', number)}"
        if row["image_id"] not in images:
            raise DotsError(f"{content.name}: {where} belongs to image {row['image_id']}, which is not in the file; "
                            "export it again.")
        image = images[row["image_id"]]
        if row.get("iscrowd"):
            gather.note("Regions marked iscrowd are no single cells and are left out.", image)
            continue
        middle = _coco_dot(row)
        if middle is None:
            gather.note("Annotations without a visible keypoint and without a box are left out.", image)
            continue
        gather.add(*middle, where, image=image, label=names.get(row.get("category_id")))
    return gather.dots()


def _coco_dot(row: dict) -> tuple | None:
    points = row.get("keypoints") or []
    seen = [points[k : k + 2] for k in range(0, len(points) - 2, 3) if points[k + 2] > 0]
    box = row.get("bbox") or (0, 0, 0, 0)
    has_box = len(box) == 4 and box[2] > 0 and box[3] > 0
    if len(seen) == 1 or (seen and not has_box):
        return tuple(math.fsum(values) / len(seen) for values in zip(*seen, strict=True))
    if has_box:
        return box[0] + box[2] / 2, box[1] + box[3] / 2
    outline = row.get("segmentation")
    if isinstance(outline, dict):
        return middle_of_runs(outline)
    if outline:
        return middle_of([list(zip(ring[::2], ring[1::2], strict=False)) for ring in outline])
    return None


def read_labelme(content: Content) -> list[Dots]:
    """One dot per shape: points as they are, of circles, rectangles and polygons the middle."""
    data, gather = content.json, Gather(content.name, corner=True)
    path = str(data.get("imagePath") or "").replace("\\", "/")
    image = gather.image(path.rpartition("/")[2], (data.get("imageHeight"), data.get("imageWidth")))
    for number, shape in enumerate(data["shapes"], 1):
        kind, points = shape.get("shape_type") or "polygon", shape["points"]
        if kind in ("point", "circle"):
            x, y = points[0]
        elif kind in ("rectangle", "mask"):
            (left, top), (right, bottom) = points[0], points[-1]
            x, y = (left + right) / 2, (top + bottom) / 2
        elif kind == "polygon":
            x, y, _ = centroid(points)
        elif kind == "points":
            for x, y in points:
                gather.add(x, y, f"shape {number}", image=image, label=shape.get("label"))
            continue
        else:
            gather.note(f"Shapes of the kind {kind} are no cells and are left out.", image)
            continue
        gather.add(x, y, f"shape {number}", image=image, label=shape.get("label"))
    return gather.dots()


def _tasks(data) -> list:
    return data if isinstance(data, list) else [data] if isinstance(data, dict) else []


def _flat_results(task: dict) -> list[dict]:
    """The results of Label Studio's flat form (JSON-MIN), where each control has a list of its own."""
    return [value for key, values in task.items() if key not in ("annotations", "completions")
            and isinstance(values, list) for value in values
            if isinstance(value, dict) and "original_width" in value and "x" in value]


def read_label_studio(content: Content) -> list[Dots]:
    """Keypoints, and the middles of boxes, ellipses and polygons, in per cent of the image.

    Of several annotators of a task the first one who did not cancel is taken, and the others are kept in
    ``Dots.others``; tasks that nobody annotated, predictions and drafts are left out.
    """
    gathers, people = [Gather(content.name, corner=True)], {}
    gather, any_task = gathers[0], False
    for number, task in enumerate(_tasks(content.json), 1):
        where = f"task {task.get('id', number)}"
        rounds = task.get("annotations", task.get("completions"))
        if rounds is None:
            flat = _flat_results(task)
            rounds = [{"result": [_unflattened(value) for value in flat]}] if flat else []
        done = [r for r in rounds if not r.get("was_cancelled") and not r.get("skipped")]
        if not done:
            continue
        any_task = True
        image = gather.image(_label_studio_image(task))
        if len(done) > 1:
            counts = ", ".join(str(sum(_marks_cell(result) for result in r["result"])) for r in done[:6])
            gather.note(f"{len(done)} people annotated this image ({counts} dots); the first annotation is taken.",
                        image)
        for k, own in enumerate(done[:MAX_PEOPLE]):
            if k == len(gathers):
                gathers.append(Gather(content.name, corner=True))
            people[k, gathers[k].image(image)] = _person(own, k)
            for result in own["result"]:
                _take_result(gathers[k], image, where, result)
    if not any_task:
        raise DotsError(f"{content.name}: no task in it is annotated; submit the annotations in Label Studio and "
                        "export again.")
    return _with_others([{dots.image: replace(dots, annotator=people.get((k, dots.image), ""))
                          for dots in each.dots()} for k, each in enumerate(gathers)])


def _person(own: dict, k: int) -> str:
    """Who made an annotation: Label Studio gives a number, or a record with an address."""
    who = own.get("completed_by")
    who = (who.get("email") or who.get("id")) if isinstance(who, dict) else who
    return f"annotator {k + 1}" if who is None else clean(str(who), 80)


def _with_others(found: list[dict[str, Dots]]) -> list[Dots]:
    """The first annotation of each image, with the later ones beside it."""
    return [replace(dots, others=tuple(later[image] for later in found[1:] if image in later))
            for image, dots in found[0].items()]


def _unflattened(value: dict) -> dict:
    label = next((key for key in value if key.endswith("labels")), "keypointlabels")
    kind = label if label in _SHAPES else "keypointlabels"
    return {"type": kind, "value": value, **{key: value.get(key) for key in ("original_width", "original_height",
                                                                             "image_rotation")}}


def _kind(result: dict) -> str:
    kind = result.get("type", "")
    return kind if kind.endswith("labels") else f"{kind}labels"


def _marks_cell(result: dict) -> bool:
    return _kind(result) in _SHAPES


def _take_result(gather: Gather, image: str, where: str, result: dict) -> None:
    kind = _kind(result)
    if kind not in _SHAPES:
        if "original_width" in result:
            gather.note(f"Results of the kind {result.get('type')} are left out.", image)
        return
    if (result.get("image_rotation") or 0) % 360:
        raise DotsError(f"{gather.name}: in {where} the image was turned by {result['image_rotation']}°; turn it back "
                        "in Label Studio and export again.")
    value, width, height = result["value"], result["original_width"], result["original_height"]
    gather.image(image, (height, width))
    if kind == "polygonlabels":
        x, y, _ = centroid([(px * width / 100, py * height / 100) for px, py in value["points"]])
    else:
        x, y = value["x"] * width / 100, value["y"] * height / 100
    if kind == "rectanglelabels":                           # turned about its top left corner
        half = value["width"] * width / 200, value["height"] * height / 200
        angle = math.radians(value.get("rotation") or 0)
        x += half[0] * math.cos(angle) - half[1] * math.sin(angle)
        y += half[0] * math.sin(angle) + half[1] * math.cos(angle)
    labels = value.get(kind) or value.get("labels") or [None]
    gather.add(x, y, where, image=image, label=labels[0])


def _label_studio_image(task: dict) -> str:
    """The image's file name, still with the prefix that Label Studio gives it."""
    data = task.get("data") if isinstance(task.get("data"), dict) else task
    names = [_name_in(value) for value in data.values() if isinstance(value, str)]
    pictures = [name for name in names if name.lower().endswith(tuple(IMAGE_SUFFIXES))]
    return next(iter(pictures), None) or _name_in(str(task.get("file_upload") or next(iter(names), "")))


def _name_in(address: str) -> str:
    """The last part of an address, also of ``/data/local-files/?d=folder/a.png``."""
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [parts.path])[0]
    return last_part(unquote(path))


def write_coco(dots: Dots, image_name: str, shape: tuple[int, int]) -> bytes:
    """One annotation per dot: a keypoint and a box of one pixel around it."""
    names = dots.class_names or ("cell",)
    annotations = [{"id": k, "image_id": 1, "category_id": names.index(label) + 1 if label in names else 1,
                    "keypoints": [x + 0.5, y + 0.5, 2], "num_keypoints": 1, "bbox": [x, y, 1, 1], "area": 1,
                    "iscrowd": 0}
                   for k, ((y, x), label) in enumerate(zip(dots.points.tolist(), dots.classes, strict=True), 1)]
    categories = [{"id": k, "name": name, "keypoints": ["center"], "skeleton": []} for k, name in enumerate(names, 1)]
    image = {"id": 1, "file_name": image_name, "width": int(shape[1]), "height": int(shape[0])}
    return json.dumps({"images": [image], "categories": categories, "annotations": annotations}).encode()


def write_labelme(dots: Dots, image_name: str, shape: tuple[int, int]) -> bytes:
    """One point per dot, without the image in it."""
    shapes = [{"label": label or "cell", "points": [[x + 0.5, y + 0.5]], "group_id": None, "description": "",
               "shape_type": "point", "flags": {}}
              for (y, x), label in zip(dots.points.tolist(), dots.classes, strict=True)]
    return json.dumps({"version": "5.3.1", "flags": {}, "shapes": shapes, "imagePath": image_name, "imageData": None,
                       "imageHeight": int(shape[0]), "imageWidth": int(shape[1])}).encode()
