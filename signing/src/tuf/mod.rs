//! The image repository: TUF 1.0 metadata, by which people say what is genuine.
//!
//! # What stands where
//! - `root` (people, two or more) names the keys of `targets`, `snapshot` and `timestamp`.
//! - `targets` (people, two or more) delegates to `release` and `clinical` for `patches/*` and `rollouts/*`, to `on-call`
//!   for `orders/*`, and to `controller` for `directives/*`; the last two have no files, only keys.
//! - `release` and `clinical` list documents. A document counts only when the **identical** target stands in both.
//! - `snapshot` and `timestamp` are the controller's.
//!
//! # For readers
//! A node keeps the pinned root, the [`Files`] and the [`Floors`], and calls [`Images::refresh`] with its [`Fetch`]. It
//! keeps the files that come back durably, then the floors of [`Images::raise`]. Everything that it believes comes out of
//! [`Images`]: [`Images::agreed`] for documents, [`Images::people`] for orders, [`Images::controller_key`] for
//! directives, [`Images::is_fresh`] before anything new is begun. From bytes alone: [`Images::from_files`].
//!
//! # For writers
//! People's tools build a version ([`Root::new`], [`Targets::top`], [`Targets::listing`], [`next_version`],
//! [`Targets::add_target`]), wrap it ([`Signed::new`]) and sign it ([`Signed::sign`], or [`Signed::canonical`] and
//! [`Signed::attach`] over an air gap). Tool and controller check it against what stands with [`Standing::check`], which
//! says who signed, who is missing and what changes. The controller publishes complete versions with
//! [`Snapshot::of`] and [`Timestamp::of`], after reading the whole as a node would ([`Images::from_files`]).
//!
//! **Invariant:** `sigstore-tuf` is known in this module alone. No clock: expiries and the present moment are passed in.

mod build;
mod canonical;
mod ceremony;
mod error;
mod floors;
mod foreign;
mod images;
mod key;
mod metadata;
mod paths;
mod policy;
mod provider;
mod role;
mod standing;
#[cfg(test)]
mod tests;
mod time;
mod workflow;

pub use build::next_version;
pub use canonical::{NotAnInteger, canonical};
pub use ceremony::{Ceremony, Member, OnlineKeys};
pub use error::TufError;
pub use floors::{Floor, Floors};
pub use foreign::Foreign;
pub use images::{Agreed, Images, NotAgreed, Refreshed};
pub use key::{TufKey, TufKeyId, TufKeyValue};
pub use metadata::{
    Delegation, DelegationKeys, Delegations, Head, Metadata, MetadataSignature, Pin, RoleKeys, Root, SIGNATURES_MAX,
    SPEC_VERSION, Signed, Snapshot, Target, Targets, Timestamp, Unknown, VERSION_MAX,
};
pub use paths::{InvalidPath, Kind, PATH_BYTES_MAX, TARGET_BYTES_MAX, patch_path, rollout_path};
pub use policy::{PolicyError, Rules, check_listing, check_root, check_targets};
pub use role::RoleName;
pub use standing::{Changes, KeyHolder, Standing, Update};
pub use time::{InvalidMoment, Moment};
pub use workflow::{Fetch, Fetched, Files};
