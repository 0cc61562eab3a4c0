"""Pushing weights of a visit to the Hub, for both front ends: which training made them, and what they know after it."""

from cellapp import hub, train_jobs
from cellapp import weights as store
from cellapp.weights import Weights
from cellapp.workspace import Workspace


def training(row: Weights, space: Workspace | None) -> train_jobs.Job | None:
    """The training of this workspace that made the weights."""
    if space is None:
        return None
    return next((job for job in train_jobs.jobs(space.trainings) if job.state().weights == row.id), None)


def send(row: Weights, repo: str, space: Workspace | None, **about) -> hub.Pushed:
    """`hub.push` with the arguments ``about``; weights of the workspace remember where they lie now."""
    there = hub.push(row.id, repo, **about)
    if space is not None and row.id in store.manifest(space.weights):
        store.replace(row.model_copy(update={"hub": there.hub}), space.weights)
    return there


def told(row: Weights, there: hub.Pushed, private: bool) -> str:
    """One sentence for a push that went well."""
    seen = "only you can see it" if private else "everybody can see it"
    return f"“{row.title}” lies at {there.url}, commit {there.revision[:7]}; {seen}."
