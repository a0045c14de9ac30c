//! What the node believes, and why: the image repository, the floors, the documents, the directive, the log.
//!
//! **Invariant:** a device is touched only for wishes that come out of [`directive::wishes`].

mod directive;
mod documents;
mod floor;
mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
mod witness;

#[cfg(test)]
pub(crate) use directive::wishes;
pub use directive::{Paper, Papers, Reader, Refusal, expired, halt, judge, open, paper};
pub(crate) use documents::Documents;
pub use documents::{Genuine, Listed, admit, agreement};
pub use floor::Floor;
pub(crate) use store::{FLOOR_FOLDER, METADATA_FOLDER};
pub use store::{Reanchored, RefreshError, TrustStore, Vouched, reanchor};
pub(crate) use witness::WitnessFile;
pub(crate) use witness::accept as accept_log;
pub use witness::{WitnessView, witness_view};
