//! A real controller on loopback, with real TLS, real clients and a real journal.
#![expect(clippy::unwrap_used, reason = "a test that can't go on must stop")]

mod access;
mod amend;
mod chunks;
mod console;
mod documents;
mod enrolment;
mod images;
mod orders;
mod reports;
mod repository;
mod restart;
mod revocation;
mod roles;
mod world;
