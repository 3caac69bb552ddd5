//! Lists of response codes: `class=2;code=403;code=488;class=3`.

use strowger_sip::message::StatusCode;

/// A list of response codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codes {
    /// One bit a code, from 100 to 699.
    bits: [u64; 10],
}

impl Codes {
    /// Reads a list.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Codes, String> {
        let mut codes = Codes::default();
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            let number = |value: &str| value.trim().parse::<u16>().ok();
            match item.split_once('=').map(|(name, value)| (name.trim(), number(value))) {
                Some(("class", Some(class @ 1..=6))) => {
                    (class * 100..class * 100 + 100).for_each(|code| codes.insert(code));
                }
                Some(("code", Some(code @ 100..=699))) => codes.insert(code),
                Some(_) | None => return Err("\"class=2;code=403\"".to_owned()),
            }
        }
        Ok(codes)
    }

    fn insert(&mut self, code: u16) {
        let bit = usize::from(code) - 100;
        if let Some(word) = self.bits.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Whether the list has this code.
    pub fn contains(&self, status: StatusCode) -> bool {
        let bit = usize::from(status.code()).saturating_sub(100);
        self.bits.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_codes() {
        let codes = Codes::parse("class=2;code=403; code=699;").expect("codes");
        let has = |code| codes.contains(StatusCode::new(code).expect("a status"));
        assert_eq!([200, 299, 300, 403, 404, 699].map(has), [true, true, false, true, false, true]);
        for wrong in ["2", "class=7", "code=99", "code=x", "kind=2"] {
            assert!(Codes::parse(wrong).is_err(), "{wrong}");
        }
    }
}
