//! Compiles the .proto files in pure Rust (protox), so that no protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["access", "audit", "common", "enrolment", "estate", "image", "inventory", "node", "patch", "rollout"]
        .map(|name| format!("wardround/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("wardround.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".wardround.v1.FetchChunksResponse.data")
        .bytes(".wardround.v1.UploadChunksRequest.data")
        .compile_fds(descriptors)?;
    Ok(())
}
