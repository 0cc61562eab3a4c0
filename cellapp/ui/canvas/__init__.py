"""The image canvas: one component on which lines, boxes, polygons and dots are drawn into an image.

`image_canvas` mounts it and gives back what is drawn, `dot_editor` sets dots with it; `picture_url` puts the picture
where the browser finds it.
"""

from cellapp.ui.canvas.component import Shape, image_canvas, length_of, regions_of, shapes_of
from cellapp.ui.canvas.dot_editor import MapLayer, dot_editor
from cellapp.ui.canvas.pictures import MAX_SIDE, delete_pictures, picture_png, picture_url, routes

__all__ = ["MAX_SIDE", "MapLayer", "Shape", "delete_pictures", "dot_editor", "image_canvas", "length_of",
           "picture_png", "picture_url",
           "regions_of", "routes", "shapes_of"]
