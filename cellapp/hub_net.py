"""The Hugging Face Hub through huggingface_hub: addresses, tokens, patience, and its failures in one sentence each.

Xet is switched off: its transfers can neither be stopped nor given a deadline, and files of at most 48 MB gain nothing
from it. A token is an argument of each call and of nothing else; no sentence here can hold one.
"""

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from huggingface_hub import HfApi, constants, set_client_factory
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import disable_progress_bars, httpx, validate_repo_id
from huggingface_hub.utils._http import default_client_factory  # with the hooks that offline mode needs

from cellapp.errors import Cancelled, CellappError, HubError
from cellapp.image_files import clean

Token = str | bool | None                                    # None: huggingface_hub's own login; False: nobody's
Progress = Callable[[int, int], None]                        # bytes done, bytes in all
Stop = Callable[[], bool]

WAITS = (1.0, 3.0, 8.0)                                      # s before a call is made again
LONGEST_WAIT = 30.0                                          # s that a server may ask for
DEADLINES = {"timeout": 60.0, "connect": 15.0}               # s without a byte; the default is to wait for ever
_T = TypeVar("_T")


def _client():
    client = default_client_factory()
    client.timeout = httpx.Timeout(**DEADLINES)
    return client


set_client_factory(_client)
constants.HF_HUB_DISABLE_XET = True
constants.DOWNLOAD_CHUNK_SIZE = 1 << 18                      # bytes between two looks at progress and stop
disable_progress_bars()                                      # progress is told by bytes, to whoever asks for it


@dataclass(frozen=True)
class Address:
    """A repository, and a branch, tag or commit of it; None: the main branch."""

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """From ``user/repo[@revision]`` or the address of its page; `HubError` for what is neither."""
        text = text.strip().removeprefix(f"{constants.ENDPOINT}/").removesuffix("/")
        repo, _, revision = text.replace("/tree/", "@", 1).partition("@")
        try:
            validate_repo_id(repo)
            named = re.fullmatch(r"[\w./-]{0,200}", revision, re.ASCII) and ".." not in revision
        except HFValidationError:
            named = False
        if repo.count("/") != 1 or not named:
            raise HubError(f"“{clean(text, 120)}” names no repository on the Hub; write user/repo or "
                           "user/repo@revision.")
        return cls(repo, revision or None)


def hub() -> HfApi:
    """The client; the address of the Hub is huggingface_hub's own setting (``HF_ENDPOINT``)."""
    return HfApi(library_name="cellapp")


def look(address: Address, token: Token, stop: Stop | None, files: bool = False) -> ModelInfo:
    """What the Hub says of a repository, with the sizes and hashes of its files if ``files``."""
    def call() -> ModelInfo:
        return hub().model_info(address.repo, revision=address.revision, files_metadata=files, token=token,
                                timeout=DEADLINES["timeout"])    # its default is to wait for ever

    return patiently(call, stop)


def checked_token(token: Token) -> Token:
    """The token without blanks round it; a `HubError` that does not show it for what cannot be one."""
    if not isinstance(token, str):
        return token
    token = token.strip()
    if not re.fullmatch(r"[\x21-\x7e]{4,4000}", token):
        raise HubError("That is no token of the Hub; copy it anew from huggingface.co/settings/tokens.")
    return token


def check(stop: Stop | None) -> None:
    """Raise `Cancelled` if the user wants no more of it."""
    if stop is not None and stop():
        raise Cancelled("Cancelled.")


def patiently(call: Callable[[], _T], stop: Stop | None = None, broken: bool = True) -> _T:
    """The answer of a call that may be made twice; made again where the Hub was busy or, if ``broken``, the connection
    broke."""
    for wait in (*WAITS, None):
        check(stop)
        try:
            return call()
        except (HfHubHTTPError, httpx.TransportError) as error:
            if wait is None or not _passing(error, broken):
                raise
            _pause(max(wait, _asked(error)), stop)
    raise AssertionError("the last call returns or raises")


def _passing(error: Exception, broken: bool) -> bool:
    if isinstance(error, HfHubHTTPError):
        return _status(error) in (408, 429, 500, 502, 503, 504)
    return broken and not isinstance(error, httpx.TimeoutException)    # which has cost a minute already


def _status(error: HfHubHTTPError) -> int:
    return getattr(getattr(error, "response", None), "status_code", 0)


def _asked(error: Exception) -> float:
    given = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
    return min(float(given), LONGEST_WAIT) if given.isdecimal() else 0.0


def _pause(seconds: float, stop: Stop | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check(stop)
        time.sleep(min(0.2, left))


@contextmanager
def sentences(repo: str, doing: str) -> Iterator[None]:
    """Turn what goes wrong between here and the Hub into a `HubError`. ``doing``: "read" or "write"."""
    try:
        yield
    except CellappError:
        raise
    except Exception as error:
        told = _told(_chain(error), repo, doing)
        if told is None:
            raise
        raise told from error


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _told(chain: list[BaseException], repo: str, doing: str) -> CellappError | None:
    """A sentence for the first error of the chain that has one."""
    for error in chain:
        if isinstance(error, CellappError):
            return error
        for kind, words in _WORDS:
            if isinstance(error, kind):
                return HubError(words.format(repo=repo, page=f"{constants.ENDPOINT}/{repo}"))
        if isinstance(error, HfHubHTTPError):
            return _of_status(_status(error), repo, doing)
        if isinstance(error, httpx.TimeoutException):
            return HubError(f"{repo}: the Hub did not answer in time; check the connection and try again.", again=True)
        if isinstance(error, httpx.TransportError):
            return HubError(f"{repo}: the Hub cannot be reached from here, or the connection broke off; check the "
                            "connection and try again.", again=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return HubError(f"{repo}: the disk is full; make room and try again.", again=True)
        if "Consistency check failed" in str(error):
            return HubError(f"{repo}: the Hub sent another number of bytes than it promised; try again.", again=True)
    return None


_WORDS = (
    (OfflineModeIsEnabled, "{repo}: this computer was told to stay offline; unset HF_HUB_OFFLINE to use the Hub."),
    (GatedRepoError, "{repo} is gated: accept its conditions on {page}, then try again with a token of that account."),
    (RevisionNotFoundError, "{repo} has no such branch, tag or commit; look the revision up on {page}."),
    (EntryNotFoundError, "{repo} holds no such file; look at {page}."),
    (DisabledRepoError, "{repo} was disabled by the Hub; choose other weights."),
    (RepositoryNotFoundError, "There is no repository {repo} on the Hub, or it is private: check the name, or give a "
                              "token of an account that may see it."),
    (HFValidationError, "“{repo}” names no repository on the Hub; write user/repo or user/repo@revision."),
)


def _of_status(status: int, repo: str, doing: str) -> HubError:
    if status == 401:
        return HubError(f"{repo}: the Hub does not accept this token (mistyped, revoked or run out?); give another "
                        "from huggingface.co/settings/tokens.")
    if status == 403:
        return HubError(f"{repo}: this token may not {doing} there; give one with the right to {doing}, or name a "
                        "repository of your own.")
    if status == 404:
        return HubError(f"{repo}: the Hub knows no such address; check the name.")
    if status in (409, 412):
        return HubError(f"{repo}: somebody else changed it meanwhile; look at it, then push again.", again=True)
    if status == 413:
        return HubError(f"{repo}: the Hub takes no files of that size from this account.")
    if status == 429:
        return HubError(f"{repo}: the Hub got too many requests from here; wait some minutes and try again.",
                        again=True)
    if status >= 500:
        return HubError(f"{repo}: the Hub has a fault of its own just now ({status}); nothing is lost, try again "
                        "later.", again=True)
    return HubError(f"{repo}: the Hub refused the request ({status}); check name and token.")


__all__ = ["Address", "Progress", "Stop", "Token", "check", "checked_token", "hub", "look", "patiently",
           "sentences"]
