//! What the node believes, and why: the floor, the documents, the directive.
//!
//! **Invariant:** a device is touched only for wishes that come out of [`directive::wishes`].

mod directive;
mod documents;
mod floor;

pub(crate) use directive::{Papers, Refusal, halt, open, wishes};
pub(crate) use documents::Documents;
pub(crate) use floor::{Floor, FloorFile};
