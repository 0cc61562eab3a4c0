"""What the page says of each method: where it is published, and what its map means."""

XIE = "Xie, Noble, Zisserman 2015, Microscopy cell counting with fully convolutional regression networks"
COHEN = ("Cohen, Boucher, Glastonbury, Lo, Bengio 2017, Count-ception: Counting by Fully Convolutional Redundant "
         "Counting")
DENSITY = "Each pixel says how many cells it holds; the sum of the map is the count, its peaks are the cells."
REDUNDANT = ("Each pixel of the redundant map is the number of cells in the 32×32 px round it, so every cell is "
             "counted 1,024 times; folded back to a density, the map sums to the count. It does not tell single cells "
             "apart.")
HERNANDEZ = ("Hernández, Sultan, Pande 2018, Using deep learning for segmentation and counting within microscopy "
             "data")
XUE = "Xue, Ray, Hugh, Bigras 2016, Cell counting by regression using convolutional neural network"
OURS = "cellapp: a small network of our own"
RECOUNT = ("Each pixel says how many cells it holds; the sum of the map is the count. A second output of the network "
           "says where the cells are.")
MARZO = "Marzo, La Rosa 2016, Cell segmentation with a fully convolutional network"
MASK = ("A first network paints the cells white, a second one counts what it sees in that mask and says how sure it "
        "is; the map is the mask, scaled to the count. It does not tell single cells apart.")
WINDOWS = ("Each window of the image gets a number of cells; between the windows' centres the density is "
           "interpolated, so the map is coarse and sums to the count. It does not tell single cells apart.")
CLASSES = WINDOWS + " Here the number of a window is the most probable of whole numbers."
SEGMENTS = ("Each pixel is told to be cell or ground; touching cells are cut apart at their waists, and the pieces "
            "are the count.")
