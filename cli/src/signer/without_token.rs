//! Stands in the place of `token` in a build without the feature `pkcs11`.

use wardround_signing::{PublicKey, SignError, Signer};

use super::{Pin, uri::TokenUri};
use crate::failure::Failure;

/// Never made.
pub(super) enum TokenKey {}

impl Signer for TokenKey {
    fn public(&self) -> PublicKey {
        match *self {}
    }

    fn sign(&self, _message: &[u8]) -> Result<[u8; 64], SignError> {
        match *self {}
    }
}

fn absent(uri: &TokenUri) -> Failure {
    Failure::usage(format!("{} can't be used: this program was built without PKCS#11", uri.words()))
        .hint("use a build with the cargo feature `pkcs11`, which is on by default")
}

pub(super) fn needs_pin(uri: &TokenUri) -> Result<bool, Failure> {
    Err(absent(uri))
}

pub(super) fn open(uri: &TokenUri, _pin: Option<&Pin>) -> Result<TokenKey, Failure> {
    Err(absent(uri))
}

pub(super) fn create(uri: &TokenUri, _pin: Option<&Pin>) -> Result<PublicKey, Failure> {
    Err(absent(uri))
}

pub(super) fn public(uri: &TokenUri) -> Result<PublicKey, Failure> {
    Err(absent(uri))
}
