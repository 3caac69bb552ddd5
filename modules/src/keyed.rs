//! The keyed hash behind nonces and temporary GRUUs: HMAC-SHA-256.
//!
//! For: deriving keys and sealing texts, with one call.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA-256 of these parts one after the other.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3.
    #[test]
    fn the_hash_is_that_of_the_rfc() {
        let hash = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e");
    }
}
