//! The transparency log: C2SP `signed-note`, `tlog-checkpoint`, `tlog-tiles` and `tlog-cosignature` over the Merkle tree of
//! RFC 6962 (<https://c2sp.org>). Pure: who keeps the hashes is the caller's matter ([`Hashes`]).
//!
//! A log is named by its public key: the origin line holds it ([`LogKey::origin`]), so two logs can't share an origin.
//! What an origin says proves nothing by itself; whoever verifies brings the key ([`LogKey`]) from elsewhere.

mod checkpoint;
mod cosignature;
mod error;
mod note;
mod tiles;
mod tree;

pub use checkpoint::{Checkpoint, LogKey, SignedCheckpoint};
pub use cosignature::{Cosignature, Witness};
pub use error::LogError;
pub use note::{NOTE_BYTES_MAX, Note, NoteKey, NoteKind, NoteSignature};
pub use tiles::{ENTRY_BYTES_MAX, TILE_WIDTH, TilePath, bundle, read_bundle, read_tile, tile_paths};
pub use tree::{Frontier, Hashes, TileHash, consistency_proof, inclusion_proof, root};
