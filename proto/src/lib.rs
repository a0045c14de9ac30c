//! The `wardround.v1` gRPC interface: the `.proto` files and the code generated from them.
//!
//! **Invariant:** this crate knows no domain; it holds messages, clients and servers, nothing else.

/// Messages, clients and servers of package `wardround.v1`.
#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("wardround.v1");
}

/// The encoded `FileDescriptorSet`, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wardround.v1.bin"));
