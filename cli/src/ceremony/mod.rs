//! The root ceremony: who holds which key, made, changed, put into words and kept in a folder. Everything that decides is
//! `wardround_signing::tuf`; this is the leading through it.
//!
//! - `people` builds the first metadata and its next versions out of people's public files;
//! - `words` says in plain words who may do what, and what is unusual;
//! - `folder` reads and writes `1.root.json`, `1.targets.json` and so on, verified.

mod folder;
mod people;
mod words;

pub(crate) use self::{
    folder::{load, write},
    people::{Change, Online, People, change, first, named},
    words::{changes, holdings, unusual, who},
};
