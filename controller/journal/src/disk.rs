//! Free space, the ballast file and durable directory entries.

use std::{fs::File, io, path::Path};

/// Bytes that this process may still write under `dir`; `u64::MAX` where the system can't say.
#[cfg(unix)]
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    // Block counts are 32 bits wide on some systems.
    #[expect(clippy::useless_conversion, reason = "the width depends on the platform")]
    let (blocks, size) = (u64::from(stat.blocks_available()), u64::from(stat.fragment_size()));
    Ok(blocks.saturating_mul(size))
}

/// Bytes that this process may still write under `dir`; `u64::MAX` where the system can't say.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_dir: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

/// Makes created, renamed and removed entries of `dir` survive a power cut (fsync(2): syncing a file alone does not).
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Windows has no call for it; NTFS journals its directory entries.
#[cfg(not(unix))]
pub(crate) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Fills `path` with `bytes` allocated bytes.
pub(crate) fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create(path)?;
    fill(&file, bytes)?;
    file.sync_all()
}

#[cfg(target_os = "linux")]
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(nix::fcntl::posix_fallocate(file, 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn fill(mut file: &File, mut bytes: u64) -> io::Result<()> {
    // Real bytes: a sparse file would hold nothing back.
    let block = vec![0_u8; 1 << 20];
    while bytes > 0 {
        let part = bytes.min(block.len() as u64);
        io::Write::write_all(&mut file, &block[..usize::try_from(part).unwrap_or(block.len())])?;
        bytes -= part;
    }
    Ok(())
}
