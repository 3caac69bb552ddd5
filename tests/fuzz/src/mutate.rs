//! Mutations: small damage to good input, from a seed.
//!
//! For: the driver, where no compiler pass guides the search.
//! Not here: what is done with the result.
//! Invariants: the same seed and input give the same result.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// A sequence of its own for every seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound; 0 when the bound is.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % bound).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }
}

/// What a mutation never makes longer.
const LENGTH_MAX: usize = 8192;

/// Pieces that mean something to a SIP reader.
const WORDS: [&[u8]; 48] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r",
    b"\n",
    b"\0",
    b"\\",
    b"\"",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"=",
    b"@",
    b"?",
    b" ",
    b"\t",
    b"*",
    b"%00",
    b"%",
    b"[::1]",
    b"[",
    b"]",
    b"0",
    b"4294967296",
    b"2147483648",
    b"-1",
    b"65536",
    b"sip:",
    b"sips:",
    b"tel:",
    b"SIP/2.0",
    b"SIP/2.0/UDP ",
    b"z9hG4bK",
    b";branch=z9hG4bK",
    b";tag=",
    b";lr",
    b";r2=on",
    b";maddr=",
    b";rport",
    b";received=",
    b"\r\nVia: SIP/2.0/UDP 192.0.2.9",
    b"\r\nRoute: <sip:192.0.2.1;lr>",
    b"\r\nMax-Breadth: 2",
    b"\r\nContent-Length: 5",
    b"\r\nProxy-Require: x",
    b"\xef\xbb\xbf\xc0\x8d\xff",
];

/// Damages `bytes` in one to eight places; `other` lends pieces.
pub fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(8) {
        once(bytes, other, random);
        bytes.truncate(LENGTH_MAX);
    }
}

fn once(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = bytes.len().min(at + random.below(64));
    match random.below(9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.insert(at, random.byte()),
        3 | 4 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.byte();
            }
        }
        5 | 6 => {
            let word = WORDS[random.below(WORDS.len())];
            let end = if random.below(2) == 0 { at } else { end };
            bytes.splice(at..end, word.iter().copied());
        }
        7 => {
            let piece = bytes[at..end].repeat(1 + random.below(20));
            bytes.splice(at..at, piece);
        }
        _ => {
            let from = random.below(other.len() + 1);
            let to = other.len().min(from + random.below(200));
            bytes.splice(at..end, other[from..to].iter().copied());
        }
    }
}
