"""Segmentation: the network, from a mask to cells, and training it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.morphology import h_maxima, local_maxima, reconstruction

from cellapp.errors import TrainingError
from cellapp.families.segmentation import Segmentation, cell_probability
from cellapp.family import Call
from cellapp.instances import label_cells
from cellapp.networks.fcn import FCN
from cellapp.networks.fcrn import parameters
from cellapp.simulate import simulate
from cellapp.training import TrainingConfig
from cellapp.weights import Settings

pytestmark = pytest.mark.usefixtures("one_thread")
FAMILY = Segmentation()
CONFIG = TrainingConfig(batch=4, crop=48)
CALL = Call(device=torch.device("cpu"), stride=8, halo=40)


def disc(shape, centre, radius) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) <= radius**2


def network(seed: int = 0) -> FCN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FCN()


def nuclei(index: int):
    scene = simulate("nuclei", 7, index)
    return SimpleNamespace(name=f"nuclei {index}", image=scene.image.astype(np.float32), points=scene.points,
                           counted=None, labels=scene.labels, count=float(len(scene.points)))


def test_parameters_shapes_and_initialisation():
    grey = network()
    assert parameters(grey) == 1_365_282
    assert parameters(FCN(channels=3)) == 1_365_858
    assert grey(torch.zeros(2, 1, 24, 41)).shape == (2, 2, 24, 41)
    for layer in (grey.down1, grey.middle, grey.up3, grey.head):
        fans = (layer.in_channels + layer.out_channels) * layer.kernel_size[0] ** 2
        bound = (6 / fans) ** 0.5
        assert 0.8 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


# --- from a mask to cells


def test_one_disc_is_one_cell_with_its_centre():
    mask = disc((50, 60), (20, 31), 9)
    labels, centres = label_cells(np.asfortranarray(mask))
    assert labels.dtype == np.int32
    assert centres.dtype == np.float64
    assert (labels == mask).all()
    assert centres.tolist() == [[20, 31]]


def test_touching_discs_are_parted_at_their_neck():
    labels, centres = label_cells(disc((50, 70), (25, 25), 10) | disc((50, 70), (25, 42), 10))
    assert np.abs(centres - [[25, 24.5], [25, 42.5]]).max() < 0.6
    assert set(labels[25, 15:34]) == {1}
    assert set(labels[25, 34:53]) == {2}


@pytest.mark.parametrize("stretch", [1.5, 2, 4])
def test_a_long_cell_stays_one_however_it_lies(stretch):
    from scipy.ndimage import distance_transform_edt, label

    trapped = 0
    for degrees in range(0, 180, 15):
        y, x = np.mgrid[:120, :120] - np.array([60.5, 60.0])[:, None, None]
        along = x * np.cos(np.deg2rad(degrees)) + y * np.sin(np.deg2rad(degrees))
        mask = (along / stretch) ** 2 + x**2 + y**2 - along**2 <= 11**2
        assert len(label_cells(mask)[1]) == 1, degrees
        trapped += label(h_maxima(distance_transform_edt(mask), 1.0), np.ones((3, 3)))[1] > 1
    assert trapped > 0, "equally high pixels on a ridge are seeds of their own for h_maxima"


def test_a_dent_parts_cells_only_if_deeper_than_h():
    bar = np.zeros((25, 60), bool)
    bar[2:23, 5:55] = True
    bar[2:4, 30] = bar[21:23, 30] = False                   # 11 px to the ground, at the neck 9
    assert len(label_cells(bar)[1]) == 2
    assert len(label_cells(bar, h=2.0)[1]) == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_as_many_pieces_as_the_reconstruction_has_summits(seed):
    from scipy.ndimage import binary_fill_holes, binary_opening, distance_transform_edt, gaussian_filter, label

    noise = np.random.default_rng(seed).standard_normal((120, 150))
    mask = np.pad(gaussian_filter(noise, 1.5 + seed) > 0, 3)  # clear of the border: libraries differ there
    clean = binary_opening(binary_fill_holes(mask))
    distance = distance_transform_edt(clean)
    summits = label(local_maxima(reconstruction(distance - 1, distance), connectivity=2), np.ones((3, 3)))[1]
    labels, centres = label_cells(mask, smallest=0)
    assert len(centres) == summits > 20
    assert ((labels > 0) == clean).all()


def test_labels_are_connected_and_numbered_like_their_centres():
    from scipy.ndimage import center_of_mass, label

    labels, centres = label_cells(simulate("nuclei", 1, 2, size=(200, 200), n=30).foreground)
    assert labels.max() == len(centres) > 15
    for number, centre in enumerate(centres, start=1):
        assert label(labels == number, np.ones((3, 3)))[1] == 1
        assert center_of_mass(labels == number) == pytest.approx(tuple(centre))


def test_holes_are_filled_and_specks_dropped():
    whole = disc((80, 80), (20, 20), 10) | disc((80, 80), (20, 60), 10) | disc((80, 80), (60, 20), 10)
    holed = whole & ~disc((80, 80), (20, 20), 5)
    small = disc((80, 80), (60, 60), 3)                     # 29 px against 317
    enough = disc((80, 80), (60, 60), 6)                    # 113 px
    line = np.zeros((80, 80), bool)
    line[40, :] = True
    assert ((label_cells(holed | small | line)[0] > 0) == whole).all()
    assert len(label_cells(whole | enough)[1]) == 4


def test_cells_cut_by_the_border_count():
    mask = disc((60, 60), (0, 0), 9) | disc((60, 60), (30, 59), 9) | disc((60, 60), (58, 20), 9)
    labels, centres = label_cells(mask)
    assert len(centres) == 3
    assert ((labels > 0) == mask).all(), "the opening must not wear cells away at the border"


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (5, 3), (40, 90)])
def test_planes_without_cells_and_without_ground(shape):
    labels, centres = label_cells(np.zeros(shape, bool))
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert not labels.any()
    assert centres.shape == (0, 2)
    labels, centres = label_cells(np.ones(shape, bool))
    assert (labels == 1).all()
    assert centres == pytest.approx(np.array([shape]) / 2 - 0.5)


# --- the family


def test_tiles_read_like_one_pass_and_the_labels_follow_the_map():
    random = network()
    plane = FAMILY.normalise(np.random.default_rng(3).random((150, 203), dtype=np.float32))
    with torch.no_grad():                                   # spread the probabilities round the threshold
        random.head.weight *= 50
    whole = FAMILY.read(random, plane, CALL)
    tiled = FAMILY.read(random, plane, Call(device=CALL.device, stride=8, halo=40, tile=64))
    probability = whole.views["foreground"]
    assert probability.shape == plane.shape
    assert probability.std() > 0.01
    np.testing.assert_allclose(tiled.views["foreground"], probability, atol=1e-5)
    middle = float(np.median(probability))
    read = FAMILY.read(random, plane, Call(device=CALL.device, stride=8, halo=40,
                                           settings=Settings(threshold=middle)))
    expected, centres = label_cells(probability >= middle)
    assert (read.labels == expected).all()
    assert read.count == len(centres) == len(read.points) > 0


def test_the_threshold_is_a_half_until_validation_has_chosen():
    class Sure(torch.nn.Module):
        def forward(self, image):
            return torch.cat([torch.zeros_like(image), image], dim=1)

    plane = np.where(disc((64, 64), (30, 30), 9), 1, -0.1).astype(np.float32)  # P = 0.73 and 0.475
    assert FAMILY.read(Sure(), plane, CALL).points.tolist() == [[30, 30]]
    for threshold, area in ((0.4, plane.size), (0.8, 0)):
        call = Call(device=CALL.device, stride=8, halo=40, settings=Settings(threshold=threshold))
        assert (FAMILY.read(Sure(), plane, call).labels > 0).sum() == area

    item = SimpleNamespace(name="disc", image=plane, points=None, labels=(plane > 0).astype(int), count=1.0,
                           counted=None)
    validation = FAMILY.validate(Sure(), [FAMILY.sample(item, CONFIG)], CONFIG, CALL)
    cell = FAMILY.normalise(plane)
    low, high = (1 / (1 + np.exp(-v)) for v in (cell.min(), cell.max()))
    assert low < validation.settings.threshold <= high
    assert validation.figure == pytest.approx(0)
    assert validation.errors.tolist() == [0]


def test_a_few_steps_learn_and_validation_chooses_a_threshold():
    samples = [FAMILY.sample(nuclei(k), CONFIG) for k in range(4)]
    assert set(np.unique(samples[0].targets)) == {0, 1}
    learner = network(1)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=1e-3)
    losses = []
    for step in range(24):
        images, targets = FAMILY.draw(samples, np.random.default_rng(step), CONFIG, stride=8, whole=False)
        assert images.shape == targets.shape == (4, 1, 48, 48)
        loss = FAMILY.loss(learner, torch.from_numpy(images), torch.from_numpy(targets), CONFIG, None)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])

    flat = FAMILY.sample(nuclei(5), CONFIG)
    flat = type(flat)(flat.name, None, None, flat.points, flat.count)
    validation = FAMILY.validate(learner.eval(), [*samples[:2], flat], CONFIG, CALL)
    chosen = validation.settings.threshold
    call = Call(device=CALL.device, stride=8, halo=40, settings=validation.settings)
    counts = [FAMILY.read(learner, s.image, call).count for s in samples[:2]] + [0]
    assert validation.errors.tolist() == [n - s.count for n, s in zip(counts, [*samples[:2], flat], strict=True)]
    maps = np.concatenate([cell_probability(learner, s.image, CALL).ravel() for s in samples[:2]]) >= chosen
    truth = np.concatenate([s.labels.ravel() for s in samples[:2]]) > 0
    assert validation.figure == pytest.approx(1 - np.corrcoef(maps, truth)[0, 1], abs=1e-6)
    assert validation.figure < 0.7


def test_what_cannot_be_learnt_from_is_named():
    item = nuclei(0)
    item.labels = None
    with pytest.raises(TrainingError, match=r"nuclei 0 has no label mask.*choose a method that learns from dots"):
        FAMILY.sample(item, CONFIG)
    item = nuclei(0)
    item.image[:] = 3
    with pytest.raises(TrainingError, match="nuclei 0 has no contrast"):
        FAMILY.sample(item, CONFIG)
