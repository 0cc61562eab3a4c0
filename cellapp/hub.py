"""Weights on the Hugging Face Hub: search, pull, push. The names that the pages and the command line use."""

from dataclasses import dataclass
from itertools import islice

from cellapp.hub_card import LICENCES, TAG
from cellapp.hub_known import KNOWN
from cellapp.hub_net import Address, Token, checked_token, hub, patiently, sentences
from cellapp.hub_pull import pull
from cellapp.hub_push import INCLUDES, Pushed, Upload, listing, push
from cellapp.image_files import clean
from cellapp.methods import METHODS
from cellapp.weights import PULLED

__all__ = ["INCLUDES", "KNOWN", "LICENCES", "PULLED", "Address", "HubRow", "Pushed", "Upload", "listing", "pull",
           "push", "search"]
MOST = 50                                                    # repositories of one search


@dataclass(frozen=True)
class HubRow:
    """A repository found on the Hub, as its owner describes it: nothing of it is checked before it is pulled.

    method : of METHODS, "" where it names none; licence : as the Hub calls it; changed : the day, "" if unknown
    """

    repo: str
    method: str
    licence: str
    downloads: int
    likes: int
    changed: str
    private: bool
    gated: bool


def search(text: str = "", *, token: Token = None) -> list[HubRow]:
    """Repositories with the tag ``cellapp`` whose name has this text, at most 50; `HubError` where the Hub fails."""
    token = checked_token(token)
    with sentences("The search", "read"):
        found = patiently(lambda: list(islice(hub().list_models(
            filter=TAG, search=text.strip() or None, limit=MOST, token=token, full=True), MOST)))
    return [_row(info) for info in found]


def _row(info) -> HubRow:
    tags = info.tags or []
    licence = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    changed = info.last_modified.date().isoformat() if info.last_modified else ""
    return HubRow(clean(info.id, 200), next((tag for tag in tags if tag in METHODS), ""), clean(licence, 80),
                  info.downloads or 0, info.likes or 0, changed, bool(info.private), bool(info.gated))
