"""A small Hugging Face Hub on this machine: the endpoints that huggingface_hub calls for search, pull and push.

The client is the real one; this server imitates what it was seen to ask for. Repositories are commits of files named
by their content, as on the Hub. `Server.faults` makes it fail: ``faults["PUT", "/_lfs/"] = [429, "cut"]`` answers the
next two such requests so; a part of the path is enough. Kinds of faults: a status, "drop" (the connection is closed
before an answer), "cut" (in the middle of it, or of the upload), "hang" (no answer for `HANG` s), "wrong" (other bytes
of the same size).
"""

import base64
import hashlib
import json
import re
import socket
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

TOKENS = {"hf_alicesecret": "alice", "hf_bobsecret": "bob", "hf_readersecret": "reader"}
READERS = {"reader"}                                         # their tokens may read only
BLOCK = 16_384                                               # bytes of an answer at once
HANG = 20.0                                                  # s
_LFS = (".safetensors", ".png", ".tif", ".bin")


@dataclass
class File:
    """A file of a commit: its content, and whether it lies in LFS."""

    content: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        """The name of the content: git's for small files, the sha256 in LFS."""
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class Repo:
    """Commits by their names; the last one is the main branch."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, File]] = field(default_factory=dict)

    def __post_init__(self):
        self.commit({".gitattributes": File(b"*.safetensors filter=lfs\n", False)})

    @property
    def head(self) -> str:
        """The commit of the main branch."""
        return next(reversed(self.commits))

    @property
    def files(self) -> dict[str, File]:
        """Those of the main branch."""
        return self.commits[self.head]

    def commit(self, files: dict[str, File]) -> str:
        """Move the main branch."""
        listed = json.dumps(sorted((name, file.oid) for name, file in files.items()))
        name = hashlib.sha1(f"{len(self.commits)} {listed}".encode()).hexdigest()
        self.commits[name] = files
        return name

    def put(self, **files: bytes) -> str:
        """Change files of the main branch; ``__`` in a name stands for a point."""
        new = {name.replace("__", "."): content for name, content in files.items()}
        return self.commit(self.files | {name: File(content, name.endswith(_LFS)) for name, content in new.items()})

    def tags(self) -> list[str]:
        """As the Hub reads them from the card."""
        readme = self.files.get("README.md")
        parts = readme.content.decode().split("---\n") if readme else []
        about = yaml.safe_load(parts[1]) if len(parts) > 2 else {}
        return [*about.get("tags", []), *([f"license:{about['license']}"] if "license" in about else [])]


class Server(ThreadingHTTPServer):
    """Serves until `close`; ``url`` is what HF_ENDPOINT is to be."""

    daemon_threads = True

    def __init__(self, port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.log: list[str] = []
        self.faults: dict[tuple[str, str], list] = {}
        self.before: dict[str, object] = {}                  # part of a path → called before its answer, once
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that goes away is no fault."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_):
        pass

    def _any(self) -> None:
        self.path_, _, query = self.path.partition("?")
        self.path_, self.query = urllib.parse.unquote(self.path_), urllib.parse.parse_qs(query)
        self.server.log.append(" ".join(filter(None, (self.command, self.path, self.headers.get("Range")))))
        self.fault = next((faults.pop(0) for (method, part), faults in self.server.faults.items()
                           if faults and method == self.command and part in self.path_), None)
        for part in [part for part in self.server.before if part in self.path_]:
            self.server.before.pop(part)()
        if self.fault == "cut" and self.command in ("PUT", "POST"):
            self.rfile.read(min(BLOCK, int(self.headers.get("Content-Length", 0))))
            self.fault = "drop"
        if self.fault == "drop":
            return self._drop()
        self.body = self._read()
        if self.fault == "hang":
            time.sleep(HANG)
            return self._drop()
        if isinstance(self.fault, int):
            return self._json({"error": "injected"}, self.fault, {"Retry-After": "1"} if self.fault == 429 else {})
        if self.headers.get("Authorization") and self._user() is None:
            return self._error(401, message="Invalid credentials in Authorization header")
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(pattern, self.path_):
                return answer(self, *found.groups())
        return self._error(404, message=f"unknown address {self.path_}")

    do_GET = do_POST = do_PUT = do_HEAD = _any

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0) or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, value, status: int = 200, headers: dict | None = None) -> None:
        self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _error(self, status: int, code: str = "", message: str = "") -> None:
        self._json({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message} if code else
                   {"X-Error-Message": message})

    def _answer(self, content: bytes, status: int = 200, headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        end = len(content) // 2 if self.fault == "cut" else len(content)
        for at in range(0, end, BLOCK):
            self.wfile.write(content[at : min(at + BLOCK, end)])
        if self.fault == "cut":
            self.wfile.flush()
            self._drop()

    def _user(self) -> str | None:
        return TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _repo(self, name: str, write: bool = False) -> Repo | None:
        """The repository, or None after the refusal was sent."""
        repo, user = self.server.repos.get(name), self._user()
        owner = name.partition("/")[0] == user
        if repo is None or (repo.private and not owner):
            self._error(404 if user else 401, "RepoNotFound", "Repository not found")
            return None
        if write and (not owner or user in READERS):
            self._error(403, message="You don't have the rights to write here")
            return None
        return repo

    def _commit_of(self, repo: Repo, revision: str) -> str | None:
        name = repo.head if revision in ("main", "") else revision
        if name not in repo.commits:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return name

    # the API

    def whoami(self) -> None:
        if self._user() is None:
            return self._error(401, message="Invalid username or password.")
        return self._json({"type": "user", "name": self._user(), "orgs": []})

    def create(self) -> None:
        asked = json.loads(self.body)
        user = self._user()
        name = f"{asked.get('organization') or user}/{asked['name']}"
        if user is None:
            return self._error(401, message="Invalid username or password.")
        if user in READERS or not name.startswith(f"{user}/"):
            return self._error(403, message="You don't have the rights to create a repository there")
        if name in self.server.repos:
            return self._json({"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}, 409)
        self.server.repos[name] = Repo(private=asked.get("visibility") == "private" or bool(asked.get("private")))
        return self._json({"url": f"{self.server.url}/{name}", "name": name, "id": name})

    def models(self) -> None:
        wanted, text = set(self.query.get("filter", [])), self.query.get("search", [""])[0].lower()
        found = [self._info(name, repo, repo.head) for name, repo in self.server.repos.items()
                 if wanted <= set(repo.tags()) and text in name.lower()
                 and (not repo.private or name.partition("/")[0] == self._user())]
        return self._json(found)

    def info(self, name: str, revision: str | None) -> None:
        repo = self._repo(name)
        if repo is not None and (commit := self._commit_of(repo, revision or "main")) is not None:
            self._json(self._info(name, repo, commit))

    def _info(self, name: str, repo: Repo, commit: str) -> dict:
        siblings = []
        for path, file in repo.commits[commit].items():
            about = {"rfilename": path, "size": len(file.content),
                     "blobId": hashlib.sha1(file.oid.encode()).hexdigest() if file.lfs else file.oid}
            if file.lfs:
                about["lfs"] = {"sha256": file.oid, "size": len(file.content), "pointerSize": 130}
            siblings.append(about)
        return {"_id": "1", "id": name, "modelId": name, "sha": commit, "private": repo.private, "tags": repo.tags(),
                "gated": "manual" if repo.gated else False, "downloads": 3, "likes": 1, "siblings": siblings,
                "createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-02T00:00:00.000Z"}

    def preupload(self, name: str) -> None:
        repo = self._repo(name, write=True)
        if repo is not None:
            self._json({"files": [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(_LFS) else "regular",
                 "shouldIgnore": False, "oid": repo.files[f["path"]].oid if f["path"] in repo.files else None}
                for f in json.loads(self.body)["files"]]})

    def batch(self, name: str) -> None:
        if self._repo(name, write=True) is None:
            return
        objects = []
        for asked in json.loads(self.body)["objects"]:
            actions = {} if asked["oid"] in self.server.blobs else {"actions": {
                "upload": {"href": f"{self.server.url}/_lfs/{asked['oid']}"},
                "verify": {"href": f"{self.server.url}/_verify/{asked['oid']}"}}}
            objects.append({"oid": asked["oid"], "size": asked["size"], **actions})
        self._json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._error(400, message="the content has another sha256")
        self.server.blobs[oid] = self.body
        return self._answer(b"")

    def verified(self, oid: str) -> None:
        self._json({}, 200 if oid in self.server.blobs else 404)

    def commit(self, name: str) -> None:
        repo = self._repo(name, write=True)
        if repo is None:
            return None
        files = dict(repo.files)
        for line in self.body.decode().splitlines():
            key, value = json.loads(line)["key"], json.loads(line)["value"]
            if key == "header" and value.get("parentCommit") not in (None, repo.head):
                return self._error(412, message="A commit has happened since. Please refresh and try again.")
            if key == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                files[value["path"]] = File(self.server.blobs[value["oid"]], True)
            elif key == "deletedFile":
                files.pop(value["path"])
        oid = repo.commit(files)
        return self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{name}/commit/{oid}",
                           "hookOutput": ""})

    def valid_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        about = yaml.safe_load(content.split("---\n")[1])
        wrong = [] if isinstance(about.get("license"), str) else [{"message": '"license" is required'}]
        self._json({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        if repo.gated and self._user() != name.partition("/")[0]:
            return self._error(403 if self._user() else 401, "GatedRepo", f"Access to model {name} is restricted.")
        commit = self._commit_of(repo, revision)
        if commit is None:
            return None
        file = repo.commits[commit].get(path)
        if file is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes",
                   "Content-Type": "application/octet-stream"}
        if asked := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            begin, size = int(asked[1]), len(file.content)
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
            return self._answer(file.content[begin:], 206, headers)
        return self._answer(file.content, 200, headers)


_NAME = r"([^/]+/[^/]+)"
_ROUTES = (
    (r"/api/whoami-v2", _Handler.whoami), (r"/api/repos/create", _Handler.create), (r"/api/models", _Handler.models),
    (r"/api/validate-yaml", _Handler.valid_yaml), (rf"/api/models/{_NAME}/preupload/[^/]+", _Handler.preupload),
    (rf"/api/models/{_NAME}/commit/[^/]+", _Handler.commit),
    (rf"/api/models/{_NAME}(?:/revision/(.+))?", _Handler.info),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch), (r"/_lfs/(.+)", _Handler.store),
    (r"/_verify/(.+)", _Handler.verified), (rf"/{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve))


if __name__ == "__main__":
    print(Server(int(sys.argv[1]) if len(sys.argv) > 1 else 0).url, flush=True)
    threading.Event().wait()
