"""``python -m cellapp weights pull``, ``push`` and ``search``: weights on the Hugging Face Hub."""

import argparse
import sys

from cellapp import weights as store
from cellapp.commands import show
from cellapp.errors import CellappError


def pull(given: argparse.Namespace) -> int:
    """Pull weights into the folder of the installed ones."""
    from cellapp import hub

    bar = _Bar(given)
    row = hub.pull(given.repo, progress=bar)
    bar.end()
    show(given, row.model_dump(mode="json"),
         f"{row.id}: {row.title}, {row.bytes / 1e6:.1f} MB, commit {row.hub.revision}\n"
         f"    licence: {row.licence}; its known answer was counted right\n"
         f"    count with it: python -m cellapp count IMAGE --weights {row.id}")
    return 0


def push(given: argparse.Namespace) -> int:
    """Show what would leave this computer, ask, and push it."""
    from cellapp import hub

    about = {"licence": given.licence}
    where = "public: everybody may see it" if given.public else "private: only you may see it"
    uploads = hub.listing(given.id, given.repo, **about)
    if not given.json or given.dry_run:
        for upload in uploads:
            show(given, {"file": upload.path, "bytes": upload.bytes, "about": upload.about},
                 f"{upload.path}: {upload.bytes:,} bytes, {upload.about}")
    if given.dry_run:
        return 0
    if not given.yes and not _agreed(f"Push these files to {given.repo} ({where})? [y/N] "):
        raise CellappError("Nothing was pushed; answer y, or give --yes.")
    bar = _Bar(given)
    there = hub.push(given.id, given.repo, private=not given.public, progress=bar, **about)
    bar.end()
    if store.folder() != store.BUNDLED:
        store.replace(store.find(given.id).model_copy(update={"hub": there.hub}))
    show(given, {"weights": given.id, "url": there.url, "revision": there.revision},
         f"{there.url}: commit {there.revision}, {where}")
    return 0


def search(given: argparse.Namespace) -> int:
    """List repositories with weights of cellapp."""
    from dataclasses import asdict

    from cellapp import hub

    rows = hub.search(given.text or "")
    for row in rows:
        words = [row.method or "method not stated", f"licence {row.licence or 'not stated'}",
                 f"{row.downloads} downloads", *(["private"] if row.private else []),
                 *(["gated"] if row.gated else [])]
        show(given, asdict(row), f"{row.repo}: {', '.join(words)}")
    if not rows and not given.json:
        print("No repository found.")
    return 0


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class _Bar:
    """Bytes on one line of a terminal; silent elsewhere."""

    def __init__(self, given: argparse.Namespace):
        self._shown = sys.stderr.isatty() and not given.json

    def __call__(self, done: int, total: int) -> None:
        if self._shown:
            print(f"\r{done / 1e6:.1f} of {total / 1e6:.1f} MB ", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Begin a new line."""
        if self._shown:
            print(file=sys.stderr)
