"""A mask of the cells, and a count read from that mask, each with its own uncertainty (FPN + VGG-11).

Source: Hernández, Sultan, Pande 2018. The mask network learns from label images (part "mask"); then it is frozen and
the counter learns from the numbers of cells alone (part "count"), on masks that are computed once.

Departures:

- Grey values: the paper takes them as they are, in [0, 1]. Here the 1st percentile of the image becomes 0 and the
  99.9th becomes 1, so that gain, offset and bit depth of a microscope do not change the count.
- The count's head reads images of one size. Other images are cut into frames of that size, side by side, and their
  counts are added; what a frame lacks is filled with dark ground, since a mirrored rim would add cells. A plane that is
  at most 15 % of a frame too long is shrunk instead.
- The density is the mask, scaled to the count frame by frame: where the counted cells are, not a map that was learnt.
- The saliency is |∂count/∂pixel|. The paper differentiates the error, which needs the true count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cellapp.crops import jitter
from cellapp.errors import TrainingError
from cellapp.families.density_maps import contrast_of
from cellapp.family import Call, Family, Reading, Sample, Validation
from cellapp.frames import fitted, framed, places, turns
from cellapp.networks.fpn_vgg import gaussian_nll, mask_loss

DARK, BRIGHT = 1.0, 99.9                                     # percentiles of the plane that become 0 and 1
ONE_FRAME = 1.75                                             # by which an estimated scale may miss that of one frame
AT_ONCE = 8                                                  # images in a pass when masks are computed, or counted


@dataclass(frozen=True)
class Masked(Sample):
    """A sample whose image was replaced by its masks.

    masks : (2, H/2, W/2) float16, the finest mean mask of the image and that of its mirror image
    """

    masks: np.ndarray | None = None


class _Frame(NamedTuple):
    """What the network says about one frame: maps of its size, and the count with its standard deviation."""

    count: float
    sd: float
    mask: np.ndarray
    mask_sd: np.ndarray | None
    saliency: np.ndarray | None


class MaskCounter(Family):
    """For networks with the parts ``fpn`` and ``counter`` and the frame's ``size``, such as `FPNVGG11`."""

    def normalise(self, plane: np.ndarray) -> np.ndarray | None:
        """The 1st percentile becomes 0, the 99.9th 1; nothing is cut off. Where cells cover less than a thousandth of
        the plane, so that both percentiles are ground, its darkest and brightest values stand in for them."""
        for low, high in (np.percentile(plane, (DARK, BRIGHT)), (plane.min(), plane.max())):
            # One part in a million of the values is the rounding of a flat float32 image, not contrast.
            if float(high) - float(low) > 1e-6 * max(abs(low), abs(high)):
                scaled = (plane - np.float32(low)) / np.float32(float(high) - float(low))
                return scaled.astype(np.float32, copy=False)
        return None

    def factor(self, network: nn.Module, shape: tuple[int, int], estimated: float) -> float:
        """An image whose field is about that of one frame is read as one frame, as in the paper: under strong defocus
        cells look larger than they are."""
        height, width = sorted(shape) if network.size[0] <= network.size[1] else sorted(shape, reverse=True)
        whole = min(network.size[0] / height, network.size[1] / width)
        return whole if 1 / ONE_FRAME <= estimated / whole <= ONE_FRAME else estimated

    def read(self, network: nn.Module, plane: np.ndarray, call: Call) -> Reading:
        """Frame by frame; the standard deviations are added, since neighbouring frames share what misleads the network.

        The views are "foreground" (the mask, 0 to 1), unless ``call`` is quick "foreground_sd", and if it wants it
        "saliency".
        """
        quarter = turns(plane.shape, network.size)
        plane = fitted(np.rot90(plane, quarter), network.size)
        maps = {name: np.zeros(plane.shape, np.float32) for name in
                ("density", "foreground", *([] if call.quick else ["foreground_sd"]),
                 *(["saliency"] if call.saliency else []))}
        frames = places(plane.shape, network.size)
        if call.progress:
            call.progress(0, len(frames))
        total_sd = 0.0
        for done, (place, frame) in enumerate(_read_frames(network, plane, frames, call), start=1):
            inside = np.s_[: plane[place].shape[0], : plane[place].shape[1]]
            maps["density"][place] = _spread(frame.count * call.settings.factor, frame.mask[inside])
            maps["foreground"][place] = frame.mask[inside].clip(0, 1)
            if not call.quick:
                maps["foreground_sd"][place] = frame.mask_sd[inside]
            if call.saliency:
                maps["saliency"][place] = frame.saliency[inside] * np.float32(call.settings.factor)
            total_sd += frame.sd * call.settings.factor
            if call.progress:
                call.progress(done, len(frames))
        maps = {name: np.ascontiguousarray(np.rot90(values, -quarter)) for name, values in maps.items()}
        return Reading(density=maps.pop("density"), views=maps, sd=total_sd)

    def sample(self, item, config) -> Sample:
        if item.counted is not None:
            raise TrainingError(f"{item.name} is dotted in part only, but this network counts whole frames and cannot "
                                "learn from it; dot the whole image, leave it out, or choose another method.")
        image = contrast_of(self, item)
        if _part(config) == "count":
            return Sample(item.name, image, None, item.points, item.count, item.labels)
        return Sample(item.name, image, _mask_of(item)[None], item.points, item.count, item.labels)

    def ready(self, network, samples, config, device) -> list[Sample]:
        """Images as one frame each; for the part "count", in their place the masks of each and of its mirror image. A
        fresh counter also begins with the mean and the variance of the counts."""
        samples = [framed(sample, network.size) for sample in samples]
        if _part(config) == "mask":
            return samples
        if not network.fpn.first[1].running_mean.any():      # a trained norm has seen images that are not black
            raise TrainingError("The mask network has not been trained yet; train it first with --part mask, then give "
                                "its weights with --start ID.")
        if config.batch < 2 * config.devices:
            raise TrainingError("The counter's batch normalisation needs at least two images in a step of each device; "
                                f"give --batch {2 * config.devices} or more.")
        network.fpn.eval()                                   # frozen: its own statistics, not those of these images
        counts = np.array([sample.count for sample in samples])
        network.counter.start_at(float(counts.mean()), float(counts.var()))
        done = [one for k in range(0, len(samples), AT_ONCE)
                for one in _with_masks(network.fpn, samples[k : k + AT_ONCE], device)]
        masked = [sample for sample in done if isinstance(sample, Masked) and sample.count > 0]
        if masked and not any(sample.masks.any() for sample in masked):
            raise TrainingError("The mask network shows an empty mask for every image, so there is nothing to count; "
                                "train --part mask again with a lower learning rate.")
        return done

    def draw(self, samples, rng, config, *, stride, whole):
        """Whole images or masks at any stage: the network reads one size.

        Part "mask": (B, 1, H, W) images, mirrored up-down and left-right with p = ¼ each, and their masks.
        Part "count": (B, 1, H/2, W/2) masks of images, half of them mirrored left to right, and (B,) counts.
        """
        chosen = [samples[k] for k in rng.integers(len(samples), size=config.batch)]
        if _part(config) == "count":
            mirrored = rng.integers(2, size=config.batch)
            masks = np.stack([sample.masks[m] for sample, m in zip(chosen, mirrored, strict=True)])
            return masks[:, None].astype(np.float32), np.array([s.count for s in chosen], np.float32)
        images, targets = [], []
        for sample in chosen:
            flips = tuple(int(s) for s in np.where(rng.random(2) < 0.25, -1, 1))
            flipped = np.s_[..., :: flips[0], :: flips[1]]
            sd = sample.image.std()                          # the jitter is in standard deviations of the image
            images.append(jitter(sample.image[flipped] / sd, rng, config)[None] * sd)
            targets.append(sample.targets[flipped])
        return np.stack(images), np.stack(targets)

    def loss(self, network, images, targets, config, rng):
        if _part(config) == "mask":
            scales = [(mean.float(), log_variance.float()) for mean, log_variance in network.fpn(images)]
            return mask_loss(scales, targets, config.faithful)
        count, log_variance = network.counter(images)
        return gaussian_nll(count.float(), log_variance.float(), targets, config.faithful)

    def trained(self, network, config) -> nn.Module:
        return network.fpn if _part(config) == "mask" else network.counter

    def validate(self, network, samples, config, call) -> Validation:
        """Part "mask": the figure is the finest mask's mean absolute error; counts cannot be judged yet, their errors
        are nan. Part "count": errors of the counts, from the masks that `ready` computed."""
        if _part(config) == "mask":
            figure = float(np.mean([_mask_error(network.fpn, sample, call) for sample in samples]))
            return Validation(np.full(len(samples), np.nan), figure, call.settings)
        counts = [0.0 if sample.image is None and not isinstance(sample, Masked) else
                  _count_of(network.counter, sample.masks[0], call) for sample in samples]
        errors = np.array(counts) - np.array([sample.count for sample in samples])
        return Validation(errors, float(np.abs(errors).mean()), call.settings)


def _part(config) -> str:
    if config.part not in ("mask", "count"):
        raise TrainingError("This network is trained in two parts: first --part mask, then --part count --start ID "
                            "with the weights of the first.")
    return config.part


def _mask_of(item) -> np.ndarray:
    """(H, W) float32, 1 where a cell is and 0 elsewhere, of an item or a sample."""
    if item.labels is None:
        raise TrainingError(f"{item.name}: the mask of its cells is not known, but --part mask learns from it; "
                            "give a folder with label images.")
    return (item.labels > 0).astype(np.float32)


def _read_frames(network: nn.Module, plane: np.ndarray, frames: list, call: Call) -> Iterator[tuple[tuple, _Frame]]:
    """Each place of the normalised plane with what the network says of it.

    Masks are drawn one by one and counted several at a time: the counter's layers are wide and its maps small, so that
    reading its weights takes longer than one mask's work.
    """
    together = 1 if call.saliency else AT_ONCE
    for first in range(0, len(frames), together):
        places = frames[first : first + together]
        # Only the saliency needs gradients, and only of the image: the network is shared and stays as it is.
        with torch.inference_mode(not call.saliency), torch.set_grad_enabled(call.saliency):
            images = [_image(plane[place], network.size, call) for place in places]
            drawn = [network.fpn.finest(image, uncertainty=not call.quick) for image in images]
            counts, log_variances = network.counter(torch.cat([mask for mask, _ in drawn]))
            saliency = torch.autograd.grad(counts.sum(), images[0])[0][0, 0].abs() if call.saliency else None
        with torch.inference_mode():
            numbers = torch.stack([counts.clamp(min=0), (log_variances / 2).exp()], dim=1).tolist()
            read = [_Frame(*pair, *_full_size(*maps, network.size),
                           None if saliency is None else saliency.float().cpu().numpy())
                    for maps, pair in zip(drawn, numbers, strict=True)]
        yield from zip(places, read, strict=True)


def _image(part: np.ndarray, size: tuple[int, int], call: Call) -> torch.Tensor:
    """(1, 1, *size) of one part of at most that size; the rest of the frame is dark ground, which is zero."""
    frame = np.zeros((1, 1, *size), np.float32)
    frame[0, 0, : part.shape[0], : part.shape[1]] = part
    return torch.from_numpy(frame).to(call.device, memory_format=call.layout).requires_grad_(call.saliency)


def _full_size(mask: torch.Tensor, log_variance: torch.Tensor | None,
               size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    """The mask and its standard deviation on the frame's grid."""
    maps = [mask.clamp(min=0), *([] if log_variance is None else [(log_variance / 2).exp()])]
    both = F.interpolate(torch.cat(maps, dim=1).float(), size=size, mode="bilinear", align_corners=False)
    return (*both[0].cpu().numpy(), None)[:2]


def _spread(count: float, mask: np.ndarray) -> np.ndarray:
    """The mask scaled to sum to the count; an empty mask gives every pixel the same share."""
    total = mask.sum(dtype=np.float64)
    return mask.astype(np.float64) * (count / total) if total > 1e-6 else np.full(mask.shape, count / mask.size)


def _with_masks(fpn: nn.Module, samples: list[Sample], device: torch.device) -> list[Sample]:
    """The samples with masks for images; one without contrast stays as it is."""
    seen = [sample for sample in samples if sample.image is not None]
    if not seen:
        return samples
    images = torch.from_numpy(np.stack([sample.image for sample in seen]))[:, None].to(device)
    with torch.inference_mode():
        masks = [fpn.finest(x, uncertainty=False)[0][:, 0].half().cpu().numpy() for x in (images, images.flip(-1))]
    pairs = iter(np.stack(masks, axis=1))
    return [sample if sample.image is None else
            Masked(**vars(sample) | {"image": None}, masks=next(pairs)) for sample in samples]


def _mask_error(fpn: nn.Module, sample: Sample, call: Call) -> float:
    """Mean absolute error of the finest mean mask; without contrast an empty mask is what reading gives."""
    truth = torch.from_numpy(_mask_of(sample))[None, None]
    if sample.image is None:
        return float(truth.mean())
    image = torch.from_numpy(np.ascontiguousarray(sample.image))[None, None]
    with torch.inference_mode():
        mask = fpn.finest(image.to(call.device, memory_format=call.layout), uncertainty=False)[0].float().cpu()
        return float((mask - F.adaptive_avg_pool2d(truth, mask.shape[-2:])).abs().mean())


def _count_of(counter: nn.Module, mask: np.ndarray, call: Call) -> float:
    """What `read` would count in an image of one frame, from its mask."""
    x = torch.from_numpy(mask.astype(np.float32))[None, None].to(call.device, memory_format=call.layout)
    with torch.inference_mode():
        return max(0.0, float(counter(x)[0])) * call.settings.factor
