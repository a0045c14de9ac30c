//! Chunks of payloads: where they are cut, and how they are packed for the way and for the disk.
//!
//! | room | holds |
//! |---|---|
//! | `cut` | FastCDC: a newer build of a payload shares with the older one every chunk in which nothing changed |
//! | `pack` | zstd, one frame a chunk, with hard limits on what it may become again |
//!
//! **Invariant:** nothing here decides what counts. A chunk is what its SHA-256 in the signed document says, always of the
//! plain bytes; whoever unpacks one still has to compare.

mod cut;
mod pack;

pub use cut::{CUT_AVERAGE, CUT_FINELY, CUT_MAX, CUT_MIN, Cuts, cut};
pub use pack::{PACK_LEVEL, PackError, Packer, Unpacker};
