#!/bin/sh
# Runs theupdateframework/tuf-conformance against our TUF client:
#   tests/peers/tuf-conformance.sh CHECKOUT
# CHECKOUT is a checkout of https://github.com/theupdateframework/tuf-conformance, v2.4.0. The suite is on no package
# registry, so this is run by hand when the client or its pin changes; CI has python-tuf (tests/tests/tuf_peer.rs).
# Needs python3-venv and faketime. Seen with v2.4.0: 109 passed, 4 expected failures.
set -eu

suite=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v faketime > /dev/null || { echo "faketime is missing (apt-get install faketime)" >&2; exit 1; }

(cd "$here" && cargo build -q -p wardround-tests --bin tuf-client)
cp "${CARGO_TARGET_DIR:-$here/target}/debug/tuf-client" "$work/tuf-client"
# What can't pass: metadata that is signed with RSA or ECDSA. We take Ed25519 only.
cat > "$work/tuf-client.xfails" << 'XFAILS'
test_keytype_and_scheme[rsa/rsassa-pss-sha256]
test_keytype_and_scheme[ecdsa/ecdsa-sha2-nistp256]
test_static_repository[tuf-on-ci-0.11]
test_static_repository[sigstore-root-signing]
XFAILS
# The suite's simulator signs with ECDSA unless it is told otherwise.
cat > "$work/ed25519.py" << 'PLUGIN'
from tuf_conformance._internal.repository_simulator import RepositorySimulator

RepositorySimulator.new_signer.__defaults__ = ("ed25519", "ed25519")
PLUGIN

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "$suite"
tests=$("$work/venv/bin/python" -c 'import tuf_conformance; print(tuf_conformance.__path__[0])')
PYTHONPATH=$work "$work/venv/bin/pytest" -q -p ed25519 "$tests" --entrypoint "$work/tuf-client"
