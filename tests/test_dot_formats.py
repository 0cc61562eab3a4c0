"""Files of dots as the tools themselves write them: the same places, the same number, or one clear sentence."""

import gzip
import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
import roifile
import tifffile
from PIL import Image as PillowImage

from cellapp import dot_model, dot_rois
from cellapp.cli import main
from cellapp.data import read_folder
from cellapp.dot_pairing import choose, core
from cellapp.dots import (
    FORMATS,
    Dots,
    check_dots,
    check_swap,
    pair_report,
    pick,
    points_csv,
    read_dots,
    read_dots_file,
    write_dots,
)
from cellapp.errors import CellappError, DotsError, ImageError

SHAPE = 512, 640
TWO = [(96.4, 412.7), (120.0, 38.5)]                        # (y, x)
CORNER = [(95.9, 412.2), (119.5, 38.0)]                     # the same where the corner of the image is the origin

CELL_COUNTER = """<?xml version="1.0" encoding="UTF-8"?>
<CellCounter_Marker_File>
 <Image_Properties>
     <Image_Filename>slide3 & 4 <DAPI>.tif</Image_Filename>
     <X_Calibration>0.325</X_Calibration>
     <Y_Calibration>0.325</Y_Calibration>
     <Z_Calibration>1.0</Z_Calibration>
     <Calibration_Unit>micron</Calibration_Unit>
 </Image_Properties>
 <Marker_Data>
     <Current_Type>0</Current_Type>
     <Marker_Type>
         <Type>1</Type>
         <Name>live & well</Name>
         <Marker>
             <MarkerX>412</MarkerX>
             <MarkerY>96</MarkerY>
             <MarkerZ>1</MarkerZ>
         </Marker>
     </Marker_Type>
     <Marker_Type>
         <Type>2</Type>
         <Marker>
             <MarkerX>38</MarkerX>
             <MarkerY>120</MarkerY>
             <MarkerZ>3</MarkerZ>
         </Marker>
     </Marker_Type>
     <Marker_Type>
         <Type>3</Type>
         <Name>Type 3</Name>
     </Marker_Type>
 </Marker_Data>
</CellCounter_Marker_File>
"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 640, "height": 512},
               {"id": 7, "file_name": "b_jpg.rf.0a1b2c3d.jpg", "width": 640, "height": 512},
               {"id": 8, "file_name": "empty.png", "width": 640, "height": 512}],
    "categories": [{"id": 1, "name": "cell", "keypoints": ["center"], "skeleton": []}, {"id": 2, "name": "dead"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [412.7, 96.4, 2], "num_keypoints": 1,
         "bbox": [31, 86, 20, 20], "area": 400, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [29.5, 109, 18, 22], "area": 396, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 0, 300, 300], "iscrowd": 1},
        {"id": 4, "image_id": 1, "category_id": 1, "keypoints": [0, 0, 0], "num_keypoints": 0, "bbox": [0, 0, 0, 0]},
        {"id": 5, "image_id": 7, "category_id": 1, "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]}],
}
LABELME = {
    "version": "5.3.1", "flags": {}, "imagePath": "..\\images\\a.tif", "imageData": None, "imageHeight": 512,
    "imageWidth": 640, "shapes": [
        {"label": "cell", "points": [[412.7, 96.4]], "group_id": None, "shape_type": "point", "flags": {}},
        {"label": "dead", "points": [[38.5, 120.0], [45, 130]], "shape_type": "circle"},
        {"label": "cell", "points": [[10, 20], [30, 60]], "shape_type": "rectangle"},
        {"label": "cell", "points": [[0, 0], [10, 0], [10, 10], [0, 10]], "shape_type": "polygon"},
        {"label": "scale", "points": [[0, 0], [10, 0]], "shape_type": "line"}]}


def keypoint(x, y, label="cell", **more):
    return {"id": "h", "type": "keypointlabels", "from_name": "kp", "to_name": "img", "original_width": 640,
            "original_height": 512, "image_rotation": 0,
            "value": {"x": x, "y": y, "width": 0.4, "keypointlabels": [label]}, **more}


LABEL_STUDIO = [
    {"id": 7, "file_upload": "df8721aa-a.png", "data": {"image": "/data/upload/1/df8721aa-a.png"}, "predictions": [
        {"result": [keypoint(1, 1)]}], "annotations": [
        {"id": 1, "was_cancelled": True, "result": [keypoint(50, 50)]},
        {"id": 2, "was_cancelled": False, "result": [keypoint(64.484375, 18.828125), keypoint(6.015625, 23.4375)]},
        {"id": 3, "was_cancelled": False, "result": [keypoint(10, 10)]}]},
    {"id": 8, "data": {"image": "/data/local-files/?d=set%2Fb%20c.png"}, "annotations": [{"id": 4, "result": [
        {"type": "rectanglelabels", "original_width": 640, "original_height": 512, "image_rotation": 0,
         "value": {"x": 10, "y": 10, "width": 5, "height": 25, "rotation": 90, "rectanglelabels": ["dead"]}}]}]},
    {"id": 9, "data": {"image": "never.png"}, "annotations": []}]
GEOJSON = {"type": "FeatureCollection", "features": [
    {"type": "Feature", "id": "0b2f6c1e-3c0a-4b9e-9a55-0f3d2f7c8a11",
     "geometry": {"type": "MultiPoint", "coordinates": [[412.7, 96.4], [38.5, 120.0]]},
     "properties": {"objectType": "annotation", "name": "DAPI", "color": [255, 0, 0],
                    "classification": {"name": "Positive", "color": [250, 62, 62]}, "isLocked": True}},
    {"type": "Feature", "geometry": {"type": "Point", "coordinates": [3, 4]}, "properties": {"object_type": "x"}},
    {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [90, 0], [90, 90], [0, 0]]]},
     "properties": {"objectType": "annotation"}}]}
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>t</name></task></meta>
 <image id="0" name="a.png" width="640" height="512">
  <points label="cell" occluded="0" source="manual" points="412.70,96.40;38.50,120.00" z_order="0"/>
  <tag label="good"/>
 </image>
 <image id="1" name="sub/b.png" width="640" height="512">
  <box label="dead" xtl="10" ytl="20" xbr="30" ybr="60"/>
  <ellipse label="dead" cx="5.5" cy="6.5" rx="2" ry="2"/>
  <polygon label="cell" points="0,0;10,0;10,10;0,10"/>
  <mask label="cell" rle="1, 2" left="100" top="200" width="10" height="20"/>
  <polyline label="cell" points="0,0;1,1"/>
 </image>
 <image id="2" name="c.png" width="640" height="512"/>
</annotations>"""


def roi(points, counters=None, kind=roifile.ROI_TYPE.POINT):
    made = roifile.ImagejRoi.frompoints(np.array(points))
    made.roitype = kind
    if counters is not None:
        made.counters = np.array(counters, np.uint8)
        made.counter_positions = np.zeros(len(points), np.uint32)
    return made.tobytes()


def zipped(members, **how):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **how) as box:
        for name, data in members.items():
            box.writestr(name, data)
    return out.getvalue()


def read(content, name="dots", **options):
    content = json.dumps(content).encode() if isinstance(content, (dict, list)) else content
    return read_dots_file(content.encode() if isinstance(content, str) else content, name, **options)


def one(content, name="dots", **options):
    found = read(content, name, **options)
    assert len(found) == 1
    return next(iter(found.values()))


def same(points, expected, atol=1e-9):
    expected = np.array(expected, float).reshape(-1, 2)
    assert len(points) == len(expected)
    order, other = np.lexsort(np.round(points, 3).T), np.lexsort(np.round(expected, 3).T)
    np.testing.assert_allclose(points[order], expected[other], rtol=0, atol=atol)


@pytest.mark.parametrize(("text", "expected", "classes"), [
    ("index,axis-0,axis-1,label\n0,96.4,412.7,live\n1,120.0,38.5,dead\n", TWO, ("live", "dead")),
    ("axis-0,axis-1,class\n96.4,412.7,1\n120,38.5,2\n", TWO, ("1", "2")),
    ("y,x\n96.4,412.7\n120,38.5\n", TWO, (None, None)),
    ("y,x,category\n96.4,412.7,a\n120,38.5,\n", TWO, ("a", None)),
    (" ,Area,Mean,Min,Max,X,Y,Ch,Slice,Counter,Count\n1,0,12,12,12,412,96,1,1,0,2\n2,0,9,9,9,38,120,1,1,1,2\n",
     [(96, 412), (120, 38)], ("0", "1")),
    (" \tLabel\tArea\tX\tY\n1\ta.tif:0001\t25.000\t412.5\t96.5\nx\tMean\t25\t1\t1\nx\tSD\t0\t1\t1\n", [(96, 412)],
     (None,)),
    (" ,Type,Slice,X,Y,Value\n1,1,1,412,96,20\n2,3,1,38,120,21\n", [(96, 412), (120, 38)], ("1", "3")),
    ("Type\tSlice\tX\tY\tValue\n1\t1\t412\t96\t20\n3\t1\t38\t120\t21\n", [(96, 412), (120, 38)], ("1", "3")),
    ("X;Y;Klasse\n412,7;96,4;a\n38,5;120;b\n", TWO, (None, None)),
    ("sep=;\r\nX;Y;class\r\n412,7;96,4;a\r\n38,5;120;b\r\n", TWO, ("a", "b")),
    ("\ufeffx,y,confidence\n412.7,96.4,0.9\n38.5,120,1\n", TWO, (None, None)),
    ("label,centroid-0,centroid-1\n1,96.4,412.7\n2,120,38.5\n", TWO, ("1", "2")),
    ("x\ty\tclass\tname\tcolor\t\n412.7\t96.4\tPositive\tDAPI\t-65536\t\n38.5\t120.0\t\tDAPI\t-65536\t\n", CORNER,
     ("Positive", None)),
    ("x\ty\tc\tz\tt\tcolor\n412.7\t96.4\t-1\t0\t0\t1\n38.5\t120.0\t-1\t0\t0\t1\n", CORNER, (None, None)),
], ids=["napari", "BiaPy", "Spotiflow", "Spotiflow classes", "ImageJ points", "ImageJ particles", "Cell Counter",
        "Cell Counter, tabs", "decimal comma", "Excel's sep", "BOM", "regionprops", "QuPath", "QuPath planes"])
def test_tables_of_every_family(text, expected, classes):
    dots = one(text)
    same(dots.points, expected)
    assert dots.classes == classes


def test_excels_unicode_text():
    same(one("x\ty\n412,7\t96,4\n38,5\t120\n".encode("utf-16")).points, TWO)


def test_a_table_with_an_image_column_serves_them_all():
    found = read("image,x,y,class\nset\\a.tif,1,2,live\nb.tif,3,4,dead\nset\\a.tif,5,6,live\n", "all.csv")
    assert {name: dots.points.tolist() for name, dots in found.items()} == {
        "set\\a.tif": [[2, 1], [6, 5]], "b.tif": [[4, 3]]}
    assert list(read("image,x,y\na.tif,1,2\nb.tif,3,4\n", image_name="A.png")) == ["a.tif"]
    with pytest.raises(DotsError, match=r"^all\.csv: it holds the dots of 2 images \(a, b\); give the name of one"):
        read_dots(b"image,x,y\na,1,2\nb,3,4\n", "all.csv")


def test_notes_say_what_a_table_leaves_open():
    assert "Remove Scale" in " ".join(one(" ,X,Y\n1,4.2,5.5\n").notes)
    assert "Mean, SD" in " ".join(one(" ,Label,Area,X,Y\n1,a,4,4.5,5.5\n2,Mean,4,4,5\n", image_name="a").notes)
    assert "2 planes" in " ".join(one("x,y,slice\n1,2,1\n1,2,2\n").notes)
    assert "no dots" in " ".join(one("x,y\n").notes)


@pytest.mark.parametrize(("text", "sentence"), [
    ("x,y\n1,5,2,5\n", r"line 2 has more cells than the first line has names \(1,5,2,5\)"),
    ("x;y\n1,5;2,5,5\n", r"line 2 has no two numbers"),
    ("x,y\n1,inf\n", r"line 2 is not finite"),
    ("image,count\na.png,12\n", r"holds counts, not the places"),
    ("Slice,Ctr 0,Total\n1,2,2\n", r"no columns named x and y \(found: slice, ctr 0, total\)"),
    ("index,axis-0,axis-1,axis-2\n0,1,2,3\n", r"are 3-D"),
    ("\0\1\2\3", r"of none of the forms read here"),
    ("<svg></svg>", r"it is XML, but of none"),
    ({"a": 1}, r"it is JSON, but of none"),
    ("[[[", r"the JSON is damaged or cut off \(line 1"),
    ("[" * 100_000, r"the JSON is damaged"),
    ({"images": 1, "annotations": []}, r"it looks like COCO, but is not built like it"),
    ({"images": [{"id": 1}], "annotations": []}, r"'file_name' is missing"),
    ({"images": [], "annotations": [{"image_id": 5}]}, r"annotation 1 belongs to image 5"),
    ({"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "segmentation": {"counts": "x"}}]},
     r"it looks like COCO, but is not built like it \('size' is missing\)"),
    ({"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "segmentation": {
        "size": [1, 10**9], "counts": [0, 10**9]}}]}, r"the run lengths do not fit the size"),
    ({"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": [1, float("nan"), 2, 2]}]},
     r"annotation 1 is not finite"),
    ({"shapes": [{"points": [["a", 1]], "shape_type": "point"}]}, r"shape 1 has no two numbers \(a, 1\)"),
    ([{"data": {}, "annotations": []}], r"no task in it is annotated"),
    ([{"data": {"image": "a.png"}, "annotations": [{"result": [keypoint(1, 1, image_rotation=90)]}]}], r"turned by 90"),
    ({"type": "FeatureCollection", "features": [{"type": "Feature"}]}, r"'geometry' is missing"),
    ("<annotations><track/></annotations>", r"format for videos"),
    ("<annotations></annotations>", r"names no image"),
    ("<annotations><image", r"the XML is damaged"),
    (b"Iout" + bytes(90), r"an ImageJ ROI in it is damaged or cut off"),
    (b"Iout\0\1", r"an ImageJ ROI in it is damaged or cut off"),
    (b"PK\x03\x04 nothing", r"the zip is damaged"),
    (b"\x1f\x8b nothing", r"the gzip archive is damaged"),
    (b"\x89HDF\r\n\x1a\n", r"HDF5 files, such as projects of ilastik, are not read here; export a table"),
    (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", r"MATLAB's format 7.3.*save\(…, '-v7'\)"),
    (b"MATLAB 5.0 MAT-file" + bytes(120), r"the MATLAB file is damaged|found: nothing"),
    ("filename,region_shape_attributes\na.png,{\n", r"line 2 is not as VIA writes it"),
    ("filename,region_shape_attributes\n,{}\n", r"line 2 names no image"),
])
def test_mistakes_are_told_in_one_sentence(text, sentence):
    with pytest.raises(DotsError, match=rf"^dots\.x: .*{sentence}"):
        read(text, "dots.x")


def test_fijis_cell_counter_with_a_name_that_is_no_xml():
    dots = one(CELL_COUNTER, "CellCounter_slide3.xml")
    same(dots.points, [(96, 412), (120, 38)], atol=0)
    assert dots.classes == ("live & well", "Type 2")
    assert dots.image == "slide3 & 4 <DAPI>.tif"
    assert "2 planes" in " ".join(dots.notes)
    assert "live & well, Type 2" in " ".join(dots.notes)
    only = one(CELL_COUNTER, classes=("Type 2",))
    assert only.points.tolist() == [[120, 38]]
    with pytest.raises(DotsError, match=r"no dots of the class dead; its classes are: live & well, Type 2"):
        read(CELL_COUNTER, classes=("dead",))
    old = CELL_COUNTER.replace("<Name>live & well</Name>", "")
    assert one(old).classes == ("Type 1", "Type 2")


def test_a_cell_counter_file_for_fiji_carries_the_exact_name():
    data = write_dots(Dots(TWO, ("a & b", None)), "cell-counter", "slide & <3>.tif")
    assert b"<Image_Filename>slide &amp; &lt;3&gt;.tif</Image_Filename>" in data
    dots = one(data)
    assert dots.image == "slide & <3>.tif"
    assert dots.points.tolist() == [[96, 413], [120, 39]]
    with pytest.raises(DotsError, match="carries the name of the image"):
        write_dots(np.array(TWO), "cell-counter")


@pytest.mark.parametrize("text", [
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    "<CellCounter_Marker_File>&b;</CellCounter_Marker_File>",
    '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotations><image name="&f;"/></annotations>',
    '<!DOCTYPE annotations SYSTEM "http://localhost/x.dtd"><annotations/>',
    '<!DOCTYPE x [<!ENTITY a "b">]><CellCounter_Marker_File><Image_Properties><Image_Filename>a & b</Image_Filename>'
    "</Image_Properties></CellCounter_Marker_File>",
])
def test_xml_with_entities_is_refused(text):
    with pytest.raises(DotsError, match=r"^dots: .*document type or entities"):
        read(text)


def test_coco():
    found = read(COCO)
    same(found["a.png"].points, [(95.9, 412.2), (119.5, 38)])
    assert found["a.png"].classes == ("cell", "dead")
    assert found["a.png"].shape == SHAPE
    assert "iscrowd" in found["a.png"].notes[0]
    same(found["b_jpg.rf.0a1b2c3d.jpg"].points, [(4.5, 4.5)])
    assert len(found["empty.png"].points) == 0
    assert list(read(COCO, image_name="b.jpg")) == ["b_jpg.rf.0a1b2c3d.jpg"]
    with pytest.raises(DotsError, match="set in an image of 640×512 px, but this one has 512×512 px"):
        read(COCO, image_name="a.png", shape=(512, 512))


def test_labelme():
    dots = one(LABELME)
    same(dots.points, [*CORNER, (39.5, 19.5), (4.5, 4.5)])
    assert (dots.image, dots.shape, dots.class_names) == ("a.tif", SHAPE, ("cell", "dead"))
    assert "line" in dots.notes[0]


def test_label_studio_takes_the_first_annotation_that_was_not_cancelled():
    found = read(LABEL_STUDIO)
    assert list(found) == ["df8721aa-a.png", "b c.png"], "a task that nobody annotated is no image without cells"
    same(found["df8721aa-a.png"].points, CORNER)
    assert "2 people annotated this image (2, 1 dots)" in found["df8721aa-a.png"].notes[0]
    same(found["b c.png"].points, [(51.2 + 16 - 0.5, 64 - 64 - 0.5)])
    assert found["b c.png"].classes == ("dead",)
    assert list(read(LABEL_STUDIO, image_name="a.png")) == ["df8721aa-a.png"]


def test_label_studios_old_and_flat_exports():
    task = {"id": 1, "data": {"image": "a.png"}, "completions": [{"result": [keypoint(50, 50)]}]}
    same(one([task]).points, [(255.5, 319.5)])
    flat = {"id": 1, "image": "/data/upload/1/df8721aa-a.png", "annotator": 1,
            "kp": [{"x": 50, "y": 50, "width": 0.4, "keypointlabels": ["cell"], "original_width": 640,
                    "original_height": 512}]}
    dots = one([flat])
    same(dots.points, [(255.5, 319.5)])
    assert (dots.classes, dots.image) == (("cell",), "df8721aa-a.png")


@pytest.mark.parametrize("form", ["collection", "array", "gzip"])
def test_qupath_geojson(form):
    content = GEOJSON if form != "array" else GEOJSON["features"]
    content = gzip.compress(json.dumps(content).encode()) if form == "gzip" else content
    dots = one(content, "a.geojson.gz" if form == "gzip" else "a.geojson")
    same(dots.points, [*CORNER, (3.5, 2.5)])
    assert dots.classes == ("Positive", "Positive", None)
    assert "1 objects that mark no single cell" in dots.notes[0]


def test_qupath_detections_are_cells_and_regions_are_not():
    square = {"type": "Polygon", "coordinates": [[[10, 20], [20, 20], [20, 40], [10, 40], [10, 20]]]}
    two = {"type": "MultiPolygon", "coordinates": [square["coordinates"]] * 2}
    cell = {"type": "Feature", "id": "PathCellObject", "geometry": square, "properties": {}}
    region = {"type": "Feature", "id": "PathAnnotationObject", "geometry": two, "properties": {}}
    dots = one([cell, region])
    same(dots.points, [(29.5, 14.5)])
    assert "1 detections are outlines" in dots.notes[0]
    alone = one([region])
    same(alone.points, [(29.5, 14.5)])
    assert "drawn by hand" in alone.notes[0]


def test_qupaths_old_zip_of_points():
    text = "Name\tPositive\nColor\t-65536\nCoordinates\t2\n412.7\t96.4\n38.5\t120.0\n"
    dots = one(zipped({"Points 1.txt": text, "Points 2.txt": "Name\tother\nCoordinates\t0\n"}))
    same(dots.points, CORNER)
    assert dots.classes == ("Positive", "Positive")
    with pytest.raises(DotsError, match=r"cut off \(2 of 3\)"):
        read(zipped({"Points 1.txt": text.replace("s\t2", "s\t3")}))


def test_cvat():
    found = read(CVAT, "annotations.xml")
    same(found["a.png"].points, CORNER)
    same(found["sub/b.png"].points, [(39.5, 19.5), (6, 5), (4.5, 4.5), (209.5, 104.5)])
    assert found["sub/b.png"].classes == ("dead", "dead", "cell", "cell")
    assert "polyline" in found["sub/b.png"].notes[0]
    assert len(found["c.png"].points) == 0
    assert list(read(CVAT, image_name="b.png")) == ["sub/b.png"]


def test_imagej_rois_name_pixels_and_outlines_their_corners():
    points = [(412.25, 96.5), (38, 120), (38, 120)]
    dots = one(roi(points, counters=[0, 2, 2]), "a.roi")
    same(dots.points, [(96.5, 412.25), (120, 38), (120, 38)])
    assert dots.classes == ("Counter 0", "Counter 2", "Counter 2")
    same(one(roi([(412, 96)])).points, [(96, 412)], atol=0)
    square = roi([(10, 20), (20, 20), (20, 40), (10, 40)], kind=roifile.ROI_TYPE.POLYGON)
    outlines = one(zipped({"a.roi": square, "b.roi": square}), "x_rois.zip")
    same(outlines.points, [(29.5, 14.5)] * 2)
    assert "2 ROIs are outlines" in outlines.notes[0]
    mixed = one(zipped({"a.roi": square, "b.roi": roi(points), "read me": "text"}))
    assert len(mixed.points) == 3
    assert mixed.notes == ("1 ROIs that are no points are left out.", "1 files in the zip are no ROIs and are left "
                                                                       "out.")


def test_the_overlay_of_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((128, 512), np.uint8), imagej=True,
                     metadata={"ROI": roi([(412.5, 96.25)]), "Overlays": [roi([(38, 120)])]})
    same(read_dots(path), [(96.25, 412.5), (120, 38)])
    same(read_dots(path.read_bytes(), "a.tif"), [(96.25, 412.5), (120, 38)])


@pytest.mark.parametrize(("members", "how"), [
    ({"a.roi": bytes(2 * 1024**2)}, {"compression": zipfile.ZIP_DEFLATED}),
    ({"a.roi": b"Iout" + bytes(1024**2 - 10)}, {"compression": zipfile.ZIP_DEFLATED}),
    ({f"{k}.roi": b"Iout" for k in range(5001)}, {}),
], ids=["large", "dense", "many"])
def test_zip_bombs_are_not_opened(members, how):
    with pytest.raises(DotsError, match=r"^x\.zip: .*which no set of ROIs has, so it is not opened"):
        read(zipped(members, **how), "x.zip")


def test_a_zip_that_lies_about_its_sizes_is_not_believed():
    data = bytearray(zipped({"a.roi": bytes(3 * 1024**2)}, compression=zipfile.ZIP_DEFLATED))
    place = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, place + 24, 64)            # the size in the central directory
    with pytest.raises(DotsError):
        read(bytes(data), "x.zip")


def test_names_in_a_zip_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = zipped({"../../evil.roi": roi([(1, 2)]), "/etc/evil.roi": roi([(3, 4)]), "C:\\evil.roi": roi([(5, 6)])})
    same(one(data).points, [(2, 1), (4, 3), (6, 5)])
    assert os.listdir(tmp_path) == []
    with pytest.raises(DotsError, match="no ImageJ ROI in this zip"):
        read(zipped({"inner.zip": data}))


@pytest.mark.parametrize("name", ["a_seg.npy", "a.PKL", "a.pt", "a.pth", "a.npz", "dots.csv"])
def test_pickles_are_refused_by_name_and_by_content(name):
    content = b"\x80\x04\x95\x10" if name == "dots.csv" else b"x,y\n1,2\n"
    with pytest.raises(DotsError, match=r"pickles.*can run a stranger's code.*export _cp_masks\.tif or _rois\.zip"):
        read(content, name)


def test_archives_of_pickles_are_refused():
    for members in ({"archive/data.pkl": b"x"}, {"arr_0.npy": b"x"}):
        with pytest.raises(DotsError, match="can run a stranger's code"):
            read(zipped(members), "a.zip")


def png(array):
    out = io.BytesIO()
    PillowImage.fromarray(array).save(out, "PNG")
    return out.getvalue()


def test_a_label_mask_gives_one_dot_a_label():
    labels = np.zeros((40, 60), np.uint16)
    labels[2:7, 3:8], labels[2:7, 8:13], labels[30:33, 50:53] = 1, 2, 700
    dots = one(png(labels), "a_cp_masks.png")
    same(dots.points, [(4, 5), (4, 10), (31, 51)])
    assert "3 labels" in dots.notes[0]
    out = io.BytesIO()
    tifffile.imwrite(out, labels.astype(np.int32))
    same(one(out.getvalue(), "a.tif").points, dots.points)


def test_spots_of_several_pixels_are_one_cell_each_and_said_so():
    mask = np.zeros((40, 60), np.uint8)
    for y, x in [(5, 5), (20, 30), (35, 50)]:
        mask[y - 1 : y + 2, x - 1 : x + 2] = 255
    dots = one(png(mask))
    same(dots.points, [(5, 5), (20, 30), (35, 50)])
    assert dots.notes == ("27 pixels in 3 spots: each spot is taken for one cell.",)
    faint = np.where(mask > 0, 255, 0).astype(np.uint8)
    faint[0, 0] = 100
    assert "1 pixels that are not brighter" in " ".join(one(png(faint)).notes)


def test_a_photograph_is_no_mask():
    with pytest.raises(DotsError, match=r"^dots: more than half of its pixels are bright"):
        one(png(np.full((40, 60), 200, np.uint8)))
    with pytest.raises(ImageError, match=r"^a\.png: "):
        read(b"no picture", "a.png")


VIA_CSV = """filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes
a.png,5231,"{}",3,0,"{""name"":""point"",""cx"":412,""cy"":96}","{""type"":""live""}"
a.png,5231,"{}",3,1,"{""name"":""rect"",""x"":30,""y"":110,""width"":20,""height"":22}","{""type"":{""dead"":true,""x"":false}}"
a.png,5231,"{}",3,2,"{""name"":""polyline"",""all_points_x"":[1,2],""all_points_y"":[1,2]}","{}"
b.png,99,"{}",0,0,"{}","{}"
"""
VIA_REGIONS = [{"shape_attributes": {"name": "point", "cx": 412, "cy": 96}, "region_attributes": {"type": "live"}},
               {"shape_attributes": {"name": "circle", "cx": 40, "cy": 121, "r": 9}, "region_attributes": {}}]
VIA_JSON = {"a.png5231": {"filename": "a.png", "size": 5231, "regions": VIA_REGIONS, "file_attributes": {}},
            "b.png99": {"filename": "b.png", "size": 99, "regions": {}, "file_attributes": {}}}


@pytest.mark.parametrize("content", [VIA_CSV, VIA_CSV.replace("filename", "#filename", 1), VIA_JSON,
                                     {"_via_settings": {}, "_via_img_metadata": VIA_JSON}],
                         ids=["CSV", "CSV of VIA 1", "JSON", "project"])
def test_via(content):
    found = read(content, "via_export")
    same(found["a.png"].points, [(95.5, 411.5), (120.5, 39.5)])
    assert found["a.png"].classes[0] == "live"
    assert found["a.png"].classes[1] in ("dead", None)
    assert len(found["b.png"].points) == 0
    if isinstance(content, str):
        assert found["a.png"].notes == ("Shapes of the kind polyline are no cells and are left out.",)


def mat(**variables):
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, variables, do_compression=True)
    return out.getvalue()


def test_matlab_counts_from_1():
    dots = one(mat(detection=np.array([(1.0, 1.0), (413.25, 97)]), other=np.zeros((4, 2))), "img1_detection.mat")
    same(dots.points, [(0, 0), (96, 412.25)])
    assert dots.notes == ("Taken from the variable detection: x before y, counted from 1 as MATLAB does.",)
    same(one(mat(centres=np.array([(3, 4)], np.uint16))).points, [(3, 2)])
    assert len(one(mat(detection=np.empty((0, 0)))).points) == 0
    for variables in ({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, {"c": np.zeros((2, 3))},
                      {"cells": np.array([1, "x"], object)}, {"s": {"detection": 1}}):
        with pytest.raises(DotsError, match=r"^dots: it needs one variable of numbers with two columns"):
            read(mat(**variables))


def test_a_matlab_file_that_unpacks_to_too_much_is_not_unpacked(monkeypatch):
    monkeypatch.setattr("cellapp.dot_mat.MAX_BYTES", 1024**2)
    with pytest.raises(DotsError, match=r"^dots: unpacked, it has more than the 1 MB read here"):
        read(mat(detection=np.zeros((2, 2)), bomb=np.zeros(1024**2)))


def test_run_lengths_of_coco():
    # The mask of a 4×5 image with a square of 2×2 px at (x 1, y 2), as pycocotools writes it: both forms.
    for counts in ([6, 2, 2, 2, 8], "62206"):
        data = {"images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 5}], "annotations": [
            {"image_id": 1, "segmentation": {"size": [4, 5], "counts": counts}}]}
        same(one(data).points, [(2.5, 1.5)])
    wide = {"size": [3, 4], "counts": [2, 5, 5]}              # goes on at the top of the next columns
    mask = np.zeros(12, bool)
    mask[2:7] = True
    y, x = np.argwhere(mask.reshape(4, 3).T).mean(axis=0)
    data["annotations"] = [{"image_id": 1, "segmentation": wide}]
    same(one(data).points, [(y, x)])


def test_the_annotator_of_label_studio_is_chosen():
    by = [dict(part, completed_by=who) for part, who in zip(LABEL_STUDIO[0]["annotations"], (
        4, {"id": 5, "email": "ann@lab.org"}, 9), strict=True)]
    tasks = [dict(LABEL_STUDIO[0], annotations=by), dict(LABEL_STUDIO[1])]
    first = read(tasks)
    assert [first["df8721aa-a.png"].annotator, *(d.annotator for d in first["df8721aa-a.png"].others)] == [
        "ann@lab.org", "9"]
    assert [d.annotator for d in first.values()] == ["ann@lab.org", "annotator 1"]
    other = read(tasks, annotator="9")
    assert {name: len(d.points) for name, d in other.items()} == {"df8721aa-a.png": 1}
    same(other["df8721aa-a.png"].points, [(50.7, 63.5)])
    assert len(read(tasks, annotator="ann@lab.org")["df8721aa-a.png"].points) == 2
    with pytest.raises(DotsError, match=r"no dots of the annotator eve; it names: ann@lab\.org, 9, annotator 1"):
        read(tasks, annotator="eve")


def test_imagej_tables_in_microns_need_the_pixel_size():
    table = " ,Area,X,Y\n1,0,133.9,31.2\n2,2.5,12.5125,39\n"
    dots = one(table, "Results.csv", pixel_size=0.325)
    same(dots.points, [(96, 412), (119.5, 38)], 1e-6)
    assert dots.notes == ("X and Y are divided by the pixel size of 0.325.",)
    with pytest.raises(DotsError, match="its places are in pixels"):
        read("x,y\n1,2\n", pixel_size=0.5)
    with pytest.raises(DotsError, match="a pixel size of -1 cannot be"):
        read(table, pixel_size=-1)


def fiji_roi(points, counters, name="cells"):
    """A multi-point ROI byte by byte as ij/io/RoiEncoder.java (ImageJ 1.54) writes it, with sub-pixel places."""
    n = len(points)
    left, top = int(min(x for x, _ in points)), int(min(y for _, y in points))
    right, bottom = int(max(x for x, _ in points)) + 1, int(max(y for _, y in points)) + 1
    start = 64 + n * 4 + n * 8                                # of the second header
    head = struct.pack(">4sHBxhhhhH", b"Iout", 228, 10, top, left, bottom, right, n)
    head += bytes(50 - len(head)) + struct.pack(">H", 128)    # options: SUB_PIXEL_RESOLUTION
    head += bytes(60 - len(head)) + struct.pack(">i", start)
    whole = struct.pack(f">{n}h", *(int(x) - left for x, _ in points))
    whole += struct.pack(f">{n}h", *(int(y) - top for _, y in points))
    exact = struct.pack(f">{n}f", *(x for x, _ in points)) + struct.pack(f">{n}f", *(y for _, y in points))
    second = bytearray(64)
    struct.pack_into(">ii", second, 16, start + 64, len(name))              # NAME_OFFSET, NAME_LENGTH
    struct.pack_into(">i", second, 48, start + 64 + 2 * len(name))          # COUNTERS_OFFSET
    tail = name.encode("utf-16-be") + struct.pack(f">{n}i", *(counter + (1 << 8) for counter in counters))
    return head + whole + exact + bytes(second) + tail


def test_a_roi_as_imagej_writes_it():
    dots = one(fiji_roi([(412.75, 96.5), (38.0, 120.25), (60, 70)], [0, 1, 1]), "0096-0412.roi")
    same(dots.points, [(96.5, 412.75), (120.25, 38), (70, 60)], 1e-4)
    assert dots.classes == ("Counter 0", "Counter 1", "Counter 1")
    same(one(zipped({"a.roi": fiji_roi([(5, 6)], [0])}), "RoiSet.zip").points, [(6, 5)])


POINTS = np.random.default_rng(7).uniform((-0.5, -0.5), np.array(SHAPE) - 0.51, (300, 2))
CLASSES = tuple(("live", "dead", None)[k % 3] for k in range(300))
EXACT = {"csv": 0, "napari": 0, "geojson": 1e-9, "coco": 1e-9, "labelme": 1e-9, "roi-zip": 1e-4}


@pytest.mark.parametrize("format", [row.name for row in FORMATS.values() if row.writer])
def test_dots_survive_every_format(format, tmp_path):
    points = np.unique(np.floor(POINTS + 0.5), axis=0)[:200] if format == "dot-png" else POINTS[:200]
    dots = Dots(points, CLASSES[: len(points)])
    data = write_dots(dots, format, "a.png", SHAPE)
    assert data == write_dots(dots, format, "a.png", SHAPE)
    path = tmp_path / f"a{FORMATS[format].suffixes[0]}"
    path.write_bytes(data)
    back = read_dots_file(path, shape=SHAPE, image_name="a.png")
    (found,) = back.values()
    assert len(found.points) == len(points)
    if format in EXACT:
        same(found.points, points, EXACT[format])
    else:
        same(np.floor(found.points + 0.5), np.floor(points + 0.5), 0)
        assert np.abs(np.sort(found.points[:, 0]) - np.sort(points[:, 0])).max() <= 0.5 + 1e-9
    if format in ("csv", "napari", "geojson"):
        assert sorted(map(str, found.classes)) == sorted(map(str, dots.classes))
    check_dots(found, SHAPE, "a")


@pytest.mark.parametrize("format", [row.name for row in FORMATS.values() if row.writer])
def test_no_dots_are_written_and_read_as_no_dots(format):
    if format == "roi-zip":
        with pytest.raises(DotsError, match="no set of ROIs without a ROI"):
            write_dots(np.empty((0, 2)), format)
        return
    data = write_dots(np.empty((0, 2)), format, "a.png", SHAPE)
    assert len(read_dots(data, f"a{FORMATS[format].suffixes[0]}", image_name="a.png")) == 0


def test_what_cannot_be_written_is_told():
    with pytest.raises(DotsError, match=r"cvat: dots are not written in this format; choose one of roi-zip, dot-png"):
        write_dots(np.array(TWO), "cvat", "a.png", SHAPE)
    with pytest.raises(DotsError, match="needs the size of the image"):
        write_dots(np.array(TWO), "dot-png")
    with pytest.raises(DotsError, match="lie outside"):
        write_dots(np.array(TWO), "dot-png", shape=(100, 100))
    with pytest.raises(DotsError, match=r"1 dots share a pixel with another one \(x = 3, y = 1\)"):
        write_dots(np.array([(1.2, 3.1), (0.8, 2.9)]), "dot-png", shape=SHAPE)
    with pytest.raises(DotsError, match="without a place"):
        write_dots(np.array([(np.nan, 1)]), "csv")


@pytest.mark.parametrize("format", ["csv", "napari"])
@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\t=x", " =x", "\u00a0=x", "a\r=b"])
def test_spreadsheets_run_no_class_as_a_formula(format, text):
    data = write_dots(Dots(TWO, (text, "-5")), format).decode()
    cells = [line.split(",")[-1] for line in data.splitlines()[1:]]
    assert not [c for c in cells if c.lstrip().startswith(("=", "+", "-", "@", "\t"))]
    assert one(data).classes[1] == "-5"
    assert points_csv(np.array([(-0.25, 3)])) == "x,y\n3,-0.25\n", "numbers stay numbers"


def test_a_huge_table_ends_at_the_limit_of_dots(tmp_path, monkeypatch):
    monkeypatch.setattr(dot_model, "MAX_DOTS", 50)
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "1,2\n" * 51)
    with pytest.raises(DotsError, match=r"^a\.csv: it has more than 50 dots .*\(line 52\)"):
        read_dots(path)
    monkeypatch.setattr(dot_model, "MAX_BYTES", 100)
    monkeypatch.setattr(dot_model, "MAX_DOTS", 500)
    assert len(read_dots(path)) == 51, "a table is not read as a whole"
    with pytest.raises(DotsError, match="has more than the 0 MB read here"):
        read(COCO)
    with pytest.raises(DotsError, match="unpacked, it has more than"):
        read(gzip.compress(b"{" + b" " * 1000))


def test_a_swap_of_x_and_y_is_proposed_only_where_it_helps():
    points = np.array([(600.0, 10.0), (30.0, 20.0)])
    np.testing.assert_array_equal(check_swap(points, SHAPE), points[:, ::-1])
    assert check_swap(points[:, ::-1], SHAPE) is None, "all lie inside as they are"
    assert check_swap(np.array([(600.0, 700.0)]), SHAPE) is None, "outside either way"
    with pytest.raises(DotsError, match=r"^a\.csv: 1 of 2 dots lie outside .*With x and y swapped, all 2 lie"):
        check_dots(Dots(points), SHAPE, "a.csv")
    with pytest.raises(DotsError, match="Counted from 0 instead of 1"):
        check_dots(Dots([(512, 640), (1, 1)]), SHAPE, "a.csv")
    with pytest.raises(DotsError) as caught:
        check_dots(Dots([(5000, 6000)]), SHAPE, "a.csv")
    assert "all" not in str(caught.value)


@pytest.mark.parametrize(("name", "same_as"), [
    ("CellCounter_slide3.xml", "slide3.tif"), ("df8721aa-a.png", "a.png"), ("a_jpg.rf.0A1b2C.jpg", "a.jpg"),
    ("a.ome.tif", "a.csv"), ("a.geojson.gz", "a.tif"), ("a_cp_masks.png", "a.tif"), ("a_rois.zip", "A.TIF"),
    ("set\\a.png", "a.png"), ("x/a.tif:series 1", "a.tif"), ("a.tif.csv", "a.tif"), ("a-annotations.json", "a.png"),
])
def test_decorations_of_the_tools_are_known(name, same_as):
    assert core(name) == core(same_as)


def test_no_name_is_guessed():
    assert choose("a.png", ["b.png", ""]) is None
    assert choose("a.png", ["11111111-a.png", "22222222-a.png"]) is None, "two do equally well"
    assert choose("a.png", ["a.png", "11111111-a.png"]) == "a.png"
    with pytest.raises(DotsError, match=r"a\.png is not among them"):
        pick({"x": Dots([], image="x"), "y": Dots([], image="y")}, "a.png", "f")


def pictures(folder, *names, shape=SHAPE):
    folder.mkdir(exist_ok=True)
    for name in names:
        PillowImage.fromarray(np.arange(shape[0] * shape[1]).reshape(shape).astype(np.uint8)).save(folder / name)
    return folder


def test_files_that_name_their_images_serve_all_of_them(tmp_path):
    images = pictures(tmp_path / "images", "a.png", "b.jpg", "c.png", "d.png", "e.png")
    dots = tmp_path / "dots"
    dots.mkdir()
    (dots / "instances_default.json").write_text(json.dumps(COCO))
    (dots / "annotations.xml").write_text(CVAT.replace("a.png", "other.png").replace("sub/b.png", "sub/d.png"))
    (dots / "notes.csv").write_text("weather,mood\nfine,good\n")
    report = pair_report(images, dots)
    assert [(m.image.name, m.file.name, m.entry) for m in report.matches] == [
        ("a.png", "instances_default.json", "a.png"), ("b.jpg", "instances_default.json", "b_jpg.rf.0a1b2c3d.jpg"),
        ("c.png", "annotations.xml", "c.png"), ("d.png", "annotations.xml", "sub/d.png")]
    assert [path.name for path in report.without_dots] == ["e.png"]
    assert report.without_image == ("annotations.xml: other.png", "instances_default.json: empty.png", "notes.csv")
    assert "no columns named x and y" in report.unread[0]
    assert report.summary() == ("4 of 5 images have dots; without dots: e.png; dots without an image: annotations.xml: "
                                "other.png, instances_default.json: empty.png, notes.csv.")
    data = {item.name: item.points for item in read_folder(images, dots)}
    assert {name: len(points) for name, points in data.items()} == {"a.png": 2, "b.jpg": 1, "c.png": 0, "d.png": 4}
    same(data["a.png"], CORNER)


def test_a_folder_in_which_every_image_has_another_format(tmp_path):
    folder = pictures(tmp_path / "all", "a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    dots = Dots(TWO, ("live", "dead"))
    for name, format in (("CellCounter_a.xml", "cell-counter"), ("b_rois.zip", "roi-zip"), ("c.geojson", "geojson"),
                         ("d.json", "labelme"), ("e_dots.png", "dot-png")):
        (folder / name).write_bytes(write_dots(dots, format, f"{name[0]}.png", SHAPE))
    (folder / "f_labels.png").write_bytes(png(np.pad(np.ones((2, 2), np.uint8), ((0, 510), (0, 638)))))
    found = {item.name: item.points for item in read_folder(folder)}
    assert [len(points) for points in found.values()] == [2, 2, 2, 2, 2, 1]
    same(found["b.png"], TWO, 1e-4)
    same(found["c.png"], TWO, 1e-4)


def test_lists_of_dots_come_before_masks(tmp_path):
    folder = pictures(tmp_path / "one", "a.png", "a_labels.png")
    (folder / "a_dots.csv").write_text("x,y\n1,2\n")
    report = pair_report(folder)
    assert [m.file.name for m in report.matches] == ["a_dots.csv"]
    assert report.without_image == ("a_labels.png",)


def test_swapped_dots_of_a_folder_name_their_file(tmp_path):
    folder = pictures(tmp_path / "one", "a.png")
    (folder / "a.csv").write_text("x,y\n10,600\n")
    with pytest.raises(DotsError, match=r"^a\.csv: 1 of 1 dots lie outside .*With x and y swapped, all 1 lie inside"):
        read_folder(folder)


def convert(capsys, *arguments):
    capsys.readouterr()
    try:
        code = main(["dots", "convert", *map(str, arguments)])
    except SystemExit as stopped:
        code = stopped.code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_dots_convert(tmp_path, capsys):
    source = tmp_path / "all.json"
    source.write_text(json.dumps(COCO))
    code, out, err = convert(capsys, source, tmp_path / "a.csv", "--to", "csv", "--image", "a.png")
    assert (code, err, len(out.splitlines())) == (0, "", 1)
    assert out.startswith(f"{tmp_path / 'a.csv'}: 2 dots, CSV")
    same(read_dots(tmp_path / "a.csv"), CORNER)
    code, out, err = convert(capsys, tmp_path / "a.csv", tmp_path / "a.png", "--to", "dot-png", "--shape", "512x640",
                             "--class", "dead", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["dots"] == 1
    assert len(read_dots(tmp_path / "a.png")) == 1


@pytest.mark.parametrize(("arguments", "code", "sentence"), [
    (["all.json", "a.csv", "--to", "csv"], 2, "cellapp: all.json: it holds the dots of 3 images"),
    (["all.json", "a.csv", "--to", "csv", "--image", "z.png"], 2, "z.png is not among them"),
    (["all.json", "a.csv", "--to", "csv", "--image", "a.png", "--shape", "9x9"], 2, "set in an image of 640×512 px"),
    (["two.csv", "a.png", "--to", "dot-png"], 2, "needs the size of the image"),
    (["two.csv", "a.xml", "--to", "cell-counter"], 2, "carries the name of the image"),
    (["two.csv", "a.png", "--to", "dot-png", "--shape", "512"], 2, "512 is not a height and a width"),
    (["two.csv", "a.png", "--to", "cvat"], 2, "invalid choice"),
    (["two.csv", "a.csv", "--to", "csv", "--shape", "9x3"], 2, "two.csv: 1 of 2 dots lie outside"),
    (["no.csv", "a.png", "--to", "csv"], 2, "cellapp: no.csv: the file cannot be opened"),
])
def test_dots_convert_tells_mistakes(tmp_path, capsys, monkeypatch, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all.json").write_text(json.dumps(COCO))
    (tmp_path / "two.csv").write_text("x,y\n1,2\n3,4\n")
    found, out, err = convert(capsys, *arguments)
    assert (found, out) == (code, "")
    assert sentence in err
    assert not (tmp_path / "a.png").exists()


def test_damaged_files_never_end_in_a_traceback(rng):
    """Each example with bytes changed or cut off: dots, or a sentence."""
    examples = [CELL_COUNTER.encode(), CVAT.encode(), *(json.dumps(d).encode() for d in (COCO, LABELME, LABEL_STUDIO,
                GEOJSON)), roi([(1.5, 2), (3, 4)], [0, 1]), zipped({"a.roi": roi([(1, 2)])})]
    for example in examples:
        for _ in range(60):
            data = bytearray(example[: rng.integers(1, len(example) + 1)] if rng.random() < 0.3 else example)
            for place in rng.integers(0, len(data), 3):
                data[place] = rng.integers(0, 256)
            try:
                for dots in read_dots_file(bytes(data), "x").values():
                    assert np.isfinite(dots.points).all()
            except CellappError as error:
                assert str(error).startswith("x: ")


def test_limits_are_those_of_the_platform():
    assert (dot_model.MAX_DOTS, dot_rois.MAX_MEMBERS, dot_rois.MAX_MEMBER, dot_rois.MAX_RATIO) == (
        200_000, 5_000, 1024**2, 100)
