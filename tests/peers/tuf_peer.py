#!/usr/bin/env python3
"""python-tuf as the peer of our TUF repository: it reads ours, writes one of its own, and plays the attacker.

    tuf_peer.py read REPOSITORY KEPT PATH…      ngclient from REPOSITORY/1.root.json; prints one line of JSON
    tuf_peer.py write FOLDER                    honest repositories and one for each attack, below FOLDER

A repository is a flat folder of metadata under versioned names, with documents below `targets/`.
"""

import copy
import hashlib
import json
import os
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Metadata,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

SPEC = "1.0.31"
SCHEME = "folder://"
DOCUMENT = b'{"id":"KB4012598"}'
PATH = "patches/KB4012598.json"
SECOND = "patches/KB4500331.json"


class FromFolder(FetcherInterface):
    """Answers as a web server over a folder would."""

    def _fetch(self, url):
        try:
            with open(url.removeprefix(SCHEME), "rb") as file:
                data = file.read()
        except FileNotFoundError as error:
            raise DownloadHTTPError("not found", 404) from error
        return iter([data])


def read(repository, kept, paths):
    os.makedirs(os.path.join(kept, "metadata"))
    os.makedirs(os.path.join(kept, "targets"))
    with open(os.path.join(repository, "1.root.json"), "rb") as file:
        pinned = file.read()
    base = SCHEME + os.path.abspath(repository)
    updater = Updater(
        metadata_dir=os.path.join(kept, "metadata"),
        metadata_base_url=base,
        target_dir=os.path.join(kept, "targets"),
        target_base_url=base + "/targets",
        fetcher=FromFolder(),
        config=UpdaterConfig(prefix_targets_with_hash=True),
        bootstrap=pinned,
    )
    updater.refresh()
    # A path that nobody lists: the search visits every role that is delegated it.
    updater.get_targetinfo("patches/nowhere.json")
    found = {}
    for path in paths:
        info = updater.get_targetinfo(path)
        if info is None:
            found[path] = None
            continue
        with open(updater.download_target(info), "rb") as file:
            found[path] = {
                "length": info.length,
                "hashes": info.hashes,
                "custom": info.custom,
                "text": file.read().decode(),
            }
    trusted = updater._trusted_set  # the public interface tells no versions
    versions = {name: trusted[name].version for name in ("root", "timestamp", "snapshot", "targets")}
    listed = {
        name: sorted(trusted[name].targets) for name in ("release", "clinical") if name in trusted
    }
    holders = sorted(
        key.unrecognized_fields["x-wardround-holder"]
        for key in trusted["targets"].delegations.keys.values()
        if "x-wardround-holder" in key.unrecognized_fields
    )
    print(json.dumps({"targets": found, "versions": versions, "listed": listed, "holders": holders}))


def signer(holder=None):
    made = CryptoSigner.generate_ed25519()
    if holder is not None:
        # The id is that of the key alone: whoever holds it is no part of it.
        made.public_key.unrecognized_fields["x-wardround-holder"] = holder
    return made


class Repository:
    """A repository of wardround's shape, written by python-tuf."""

    def __init__(self):
        self.now = datetime.now(timezone.utc).replace(microsecond=0)
        self.signers = {
            "root": [signer("Ada"), signer("Bo"), signer("Cy")],
            "targets": [signer("Di"), signer("Ed")],
            "release": [signer("Fay")],
            "clinical": [signer("Gus")],
            "on-call": [signer("Hal")],
            "controller": [signer()],
            "snapshot": [signer()],
            "timestamp": [signer()],
        }
        self.root = Root(1, SPEC, self.later(365), consistent_snapshot=True)
        for role in ("root", "targets", "snapshot", "timestamp"):
            for one in self.signers[role]:
                self.root.add_key(one.public_key, role)
        self.root.roles["root"].threshold = 2
        self.root.roles["targets"].threshold = 2
        self.targets = Targets(1, SPEC, self.later(365), delegations=self.delegations())
        self.listings = {name: Targets(1, SPEC, self.later(300)) for name in ("release", "clinical")}
        self.snapshot = Snapshot(1, SPEC, self.later(30))
        self.timestamp = Timestamp(1, SPEC, self.later(7))
        self.files = {}
        self.documents = {}

    def copied(self):
        """Secret keys can't be copied; everything else is."""
        other = copy.copy(self)
        other.signers = {role: list(signers) for role, signers in self.signers.items()}
        for name in ("root", "targets", "listings", "snapshot", "timestamp", "files", "documents"):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        return other

    def later(self, days):
        return self.now + timedelta(days=days)

    def delegations(self):
        paths = {
            "release": ["patches/*", "rollouts/*"],
            "clinical": ["patches/*", "rollouts/*"],
            "on-call": ["orders/*"],
            "controller": ["directives/*"],
        }
        keys, roles = {}, {}
        for name, patterns in paths.items():
            ids = [one.public_key.keyid for one in self.signers[name]]
            keys.update({one.public_key.keyid: one.public_key for one in self.signers[name]})
            roles[name] = DelegatedRole(name, ids, 1, False, paths=patterns)
        return Delegations(keys, roles)

    def signed(self, role, content, signers=None):
        metadata = Metadata(copy.deepcopy(content))
        for one in self.signers[role] if signers is None else signers:
            metadata.sign(one, append=True)
        return metadata.to_bytes(JSONSerializer())

    def agree(self, path, data):
        for listing in self.listings.values():
            listing.version += 1
            info = TargetFile.from_data(path, data, ["sha256"])
            info.unrecognized_fields["custom"] = {"wardround": {"kind": "patch"}}
            listing.targets[path] = info
        self.documents[path] = data

    def put_root(self, signers=None):
        self.files[f"{self.root.version}.root.json"] = self.signed("root", self.root, signers)

    def publish(self, sign=None, pin=None):
        """Writes the files of this moment. `sign`: other signers of a role; `pin`: other pinned versions."""
        sign, pin = sign or {}, pin or {}
        if f"{self.root.version}.root.json" not in self.files:
            self.put_root(sign.get("root"))
        for name, content in {"targets": self.targets, **self.listings}.items():
            self.files[f"{content.version}.{name}.json"] = self.signed(name, content, sign.get(name))
            self.snapshot.meta[f"{name}.json"] = MetaFile(pin.get(name, content.version))
        self.files[f"{self.snapshot.version}.snapshot.json"] = self.signed(
            "snapshot", self.snapshot, sign.get("snapshot")
        )
        self.timestamp.snapshot_meta = MetaFile(pin.get("snapshot", self.snapshot.version))
        self.files["timestamp.json"] = self.signed("timestamp", self.timestamp, sign.get("timestamp"))

    def bump(self):
        self.snapshot.version += 1
        self.timestamp.version += 1

    def rotate(self, role, signers):
        for one in self.signers[role]:
            self.root.revoke_key(one.public_key.keyid, role)
        self.signers[role] = signers
        for one in signers:
            self.root.add_key(one.public_key, role)

    def write(self, folder):
        os.makedirs(os.path.join(folder, "targets", "patches"))
        for name, data in self.files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        for path, data in self.documents.items():
            prefix, name = path.split("/")
            digest = hashlib.sha256(data).hexdigest()
            with open(os.path.join(folder, "targets", prefix, f"{digest}.{name}"), "wb") as file:
                file.write(data)


def honest():
    """As a node has seen it: version 2 of everything that is signed for a document, 1 before it."""
    repository = Repository()
    repository.publish()
    first = repository.copied()
    repository.agree(PATH, DOCUMENT)
    repository.bump()
    repository.publish()
    return first, repository


def attacks(first, seen):
    """Each attack as (name, repository): what the controller's place serves to a node that has seen `seen`."""

    def fresh():
        other = seen.copied()
        other.bump()
        return other

    yield "rollback-timestamp", first.copied()

    other = fresh()
    other.snapshot.version = 1
    other.publish(pin={"release": 1, "clinical": 1})
    yield "rollback-snapshot", other

    other = fresh()
    other.listings = copy.deepcopy(first.listings)
    other.publish()
    yield "rollback-roles", other

    other = fresh()
    other.timestamp.expires = other.later(-1)
    other.publish()
    yield "freeze", other

    other = fresh()
    other.publish()
    other.files["timestamp.json"] = other.files["timestamp.json"] + b" " * 20_000_000
    yield "endless-data", other

    other = fresh()
    other.agree(SECOND, b"{}")
    other.publish()
    other.files["3.release.json"] = seen.files["2.release.json"]
    yield "mix-and-match-role", other

    other = fresh()
    other.publish()
    other.files["3.snapshot.json"] = seen.files["2.snapshot.json"]
    yield "mix-and-match-snapshot", other

    other = fresh()
    other.targets.version += 1
    other.publish(sign={"targets": other.signers["targets"][:1]})
    yield "one-of-two-targets", other

    other = fresh()
    other.agree(SECOND, b"{}")
    online = other.signers["snapshot"]
    other.publish(sign={"release": online, "clinical": online})
    yield "documents-by-online-keys", other

    other = fresh()
    other.agree(SECOND, b"{}")
    del other.snapshot.meta["clinical.json"]
    other.publish()
    del other.snapshot.meta["clinical.json"]
    other.files[f"{other.snapshot.version}.snapshot.json"] = other.signed("snapshot", other.snapshot)
    yield "role-left-out", other

    # Two signatures by one key: python-tuf's own client counts them as two.
    other = fresh()
    other.root.version = 2
    first_signer = other.signers["root"][0]
    key = first_signer.public_key
    twin = copy.deepcopy(key)
    twin.keyid = "f" * 64
    other.root.keys[twin.keyid] = twin
    other.root.roles["root"].keyids = [key.keyid, twin.keyid]
    other.put_root([*other.signers["root"], CryptoSigner(first_signer._private_key, twin)])
    yield "one-key-two-ids", other

    other = fresh()
    other.root.version = 2
    other.root.roles["root"].threshold = 1
    other.put_root()
    yield "root-of-one", other

    other = fresh()
    other.root.version = 2
    thieves = [signer("Eve"), signer("Mal")]
    other.rotate("root", thieves)
    other.put_root(thieves)
    yield "root-of-others", other

    other = fresh()
    other.root.version = 3
    other.put_root()
    other.files["2.root.json"] = other.files.pop("3.root.json")
    yield "root-with-a-gap", other

    other = fresh()
    other.targets.version += 1
    release = other.signers["release"][0].public_key
    other.targets.delegations.roles["clinical"].keyids.append(release.keyid)
    other.publish()
    yield "one-key-in-both-roles", other

    other = fresh()
    other.targets.version += 1
    other.targets.delegations.roles["release"].paths = ["*"]
    other.publish()
    yield "delegation-of-everything", other


def fast_forward(seen):
    """Whoever has the online keys signs a very high version; people then replace those keys."""
    ahead = seen.copied()
    ahead.snapshot.version = ahead.timestamp.version = 2**40
    ahead.publish()
    behind = seen.copied()
    behind.bump()
    behind.publish()
    recovered = seen.copied()
    recovered.root.version = 2
    for role in ("snapshot", "timestamp"):
        recovered.rotate(role, [signer()])
    recovered.bump()
    recovered.publish()
    return {"ahead": ahead, "behind": behind, "recovered": recovered}


def rotated(seen):
    """Every key of every role is another one, over four roots, while a node was away."""
    repository = seen.copied()
    for step, role in enumerate(("root", "targets", "snapshot", "timestamp")):
        repository.root.version = step + 2
        former = repository.signers[role]
        people = role in ("root", "targets")
        repository.rotate(role, [signer(f"New {role} {n}" if people else None) for n in range(len(former))])
        both = former + repository.signers["root"] if role == "root" else repository.signers["root"]
        repository.put_root(both)
    repository.targets.version += 1
    for name in ("release", "clinical"):
        repository.signers[name] = [signer(f"New {name}")]
        repository.listings[name].version += 1
    repository.targets.delegations = repository.delegations()
    repository.bump()
    repository.publish()
    return repository


def write(folder):
    first, seen = honest()
    first.write(os.path.join(folder, "first"))
    seen.write(os.path.join(folder, "seen"))
    rotated(seen).write(os.path.join(folder, "rotated"))
    for name, repository in fast_forward(seen).items():
        repository.write(os.path.join(folder, "fast-forward", name))
    names = []
    for name, repository in attacks(first, seen):
        repository.write(os.path.join(folder, "attacks", name))
        names.append(name)
    print(json.dumps(names))


def main():
    match sys.argv[1:]:
        case ["read", repository, kept, *paths]:
            read(repository, kept, paths)
        case ["write", folder]:
            write(folder)
        case _:
            sys.exit(__doc__)


main()
