//! How a chunk is packed: one zstd frame (RFC 8878) that says how many bytes it becomes.

use std::io;

use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::get_frame_content_size,
};

/// Level: packed once at import, fetched by thousands of sites over thin lines. Level 9 takes some 40 MB/s on one core (a
/// program of 12 MB, November 2026: `zstd -b9 -B32K`).
pub const PACK_LEVEL: i32 = 9;
/// A chunk is packed only where that saves at least one part in so many: else unpacking costs more than it brings.
const SAVES_ONE_IN: usize = 16;

/// Why something packed is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// It says that it becomes more, or less, than it may.
    #[error("packed bytes say that they become {said}, where {wanted} are wanted")]
    Length {
        /// What it says: bytes, or that it doesn't say.
        said: String,
        /// Bytes that are wanted; "at most …".
        wanted: String,
    },
    /// No zstd frame, or one that is damaged or lies.
    #[error("packed bytes can't be unpacked: {0}")]
    Garbage(String),
}

/// Packs one chunk after the other.
pub struct Packer(Compressor<'static>);

impl Packer {
    /// Makes ready.
    ///
    /// # Errors
    /// No memory for its tables.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Compressor::new(PACK_LEVEL)?))
    }

    /// The chunk as one frame; `None` where that doesn't pay.
    pub fn pack(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let packed = self.0.compress(plain).ok()?;
        (packed.len() + plain.len() / SAVES_ONE_IN <= plain.len()).then_some(packed)
    }
}

/// Unpacks one chunk after the other. What comes in may be anything: no more memory is taken than the plain bytes need.
pub struct Unpacker(Decompressor<'static>);

impl Unpacker {
    /// Makes ready.
    ///
    /// # Errors
    /// No memory for its tables.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Decompressor::new()?))
    }

    /// A chunk that must have exactly `bytes` plain bytes. Comparing its SHA-256 is the caller's.
    ///
    /// # Errors
    /// [`PackError`]: no frame, a damaged one, or one of another length.
    pub fn unpack(&mut self, packed: &[u8], bytes: usize) -> Result<Vec<u8>, PackError> {
        let said = said(packed)?;
        if said != Some(bytes as u64) {
            return Err(PackError::Length { said: words(said), wanted: bytes.to_string() });
        }
        self.within(packed, bytes)
    }

    /// A chunk of at most `most` plain bytes.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn unpack_at_most(&mut self, packed: &[u8], most: usize) -> Result<Vec<u8>, PackError> {
        let said = said(packed)?;
        match said.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes <= most) {
            Some(bytes) => self.within(packed, bytes),
            None => Err(PackError::Length { said: words(said), wanted: format!("at most {most}") }),
        }
    }

    /// The output buffer has `bytes` bytes and never grows: what becomes more is an error, whatever its header says.
    fn within(&mut self, packed: &[u8], bytes: usize) -> Result<Vec<u8>, PackError> {
        let mut plain = Vec::with_capacity(bytes);
        self.0.decompress_to_buffer(packed, &mut plain).map_err(|error| PackError::Garbage(error.to_string()))?;
        if plain.len() != bytes {
            return Err(PackError::Length { said: plain.len().to_string(), wanted: bytes.to_string() });
        }
        Ok(plain)
    }
}

fn said(packed: &[u8]) -> Result<Option<u64>, PackError> {
    get_frame_content_size(packed).map_err(|_| PackError::Garbage("that is no zstd frame".to_owned()))
}

fn words(said: Option<u64>) -> String {
    said.map_or_else(|| "an unknown number of bytes".to_owned(), |bytes| bytes.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacker() -> Unpacker {
        Unpacker::new().unwrap()
    }

    #[test]
    fn what_shrinks_goes_round_and_what_does_not_stays_plain() {
        let text = "wardround ".repeat(6_000).into_bytes();
        let packed = Packer::new().unwrap().pack(&text).unwrap();
        assert!(packed.len() < text.len() / 50);
        assert_eq!(unpacker().unpack(&packed, text.len()).unwrap(), text);
        assert_eq!(unpacker().unpack_at_most(&packed, 1024 * 1024).unwrap(), text);
        // Packed already.
        assert_eq!(Packer::new().unwrap().pack(&packed), None);
        assert_eq!(Packer::new().unwrap().pack(b"x"), None);
        assert_eq!(Packer::new().unwrap().pack(b""), None);
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_was_asked_for() {
        let bomb = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 3).unwrap();
        assert!(bomb.len() < 64 * 1024);
        assert!(matches!(unpacker().unpack(&bomb, 65_536), Err(PackError::Length { .. })));
        assert!(matches!(unpacker().unpack_at_most(&bomb, 1024 * 1024), Err(PackError::Length { .. })));
        // One that lies about its length: a second frame hides behind the first.
        let mut lies = zstd::bulk::compress(&vec![7; 65_536], 3).unwrap();
        lies.extend(zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 3).unwrap());
        assert!(matches!(unpacker().unpack(&lies, 65_536), Err(PackError::Garbage(_))));
        // One that does not say what it becomes.
        let mut stream = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        std::io::Write::write_all(&mut stream, &vec![0; 4 * 1024 * 1024]).unwrap();
        let stream = stream.finish().unwrap();
        assert!(matches!(unpacker().unpack(&stream, 65_536), Err(PackError::Length { .. })));
        assert!(matches!(unpacker().unpack_at_most(&stream, 65_536), Err(PackError::Length { .. })));
    }

    #[test]
    fn a_lying_length_and_garbage_are_refused() {
        let text = "wardround ".repeat(6_000).into_bytes();
        let packed = Packer::new().unwrap().pack(&text).unwrap();
        for wrong in [0, 1, text.len() - 1, text.len() + 1] {
            assert!(unpacker().unpack(&packed, wrong).is_err(), "{wrong}");
        }
        // The header says more, or less, than comes. Frame header descriptor, then two bytes of the length less 256.
        for by in [-1_i32, 1] {
            let mut lies = packed.clone();
            let said = i32::from(u16::from_le_bytes([lies[5], lies[6]]));
            lies[5..7].copy_from_slice(&u16::try_from(said + by).unwrap().to_le_bytes());
            let bytes = usize::try_from(i32::try_from(text.len()).unwrap() + by).unwrap();
            assert!(unpacker().unpack(&lies, bytes).is_err(), "{by}");
        }
        for bad in [&b""[..], b"x", b"\x28\xb5\x2f\xfd", &packed[..packed.len() - 1], &text[..100]] {
            assert!(unpacker().unpack(bad, text.len()).is_err(), "{bad:?}");
            assert!(unpacker().unpack_at_most(bad, 1024 * 1024).is_err(), "{bad:?}");
        }
        // Any one flipped bit: it fails, or becomes other bytes, of the right length, which their SHA-256 will tell.
        let mut unpacker = unpacker();
        for at in 0..packed.len() {
            let mut flipped = packed.clone();
            flipped[at] ^= 1;
            if let Ok(other) = unpacker.unpack(&flipped, text.len()) {
                assert_eq!(other.len(), text.len(), "byte {at}");
            }
        }
        assert_eq!(unpacker.unpack(&packed, text.len()).unwrap(), text, "it goes on after garbage");
    }
}
