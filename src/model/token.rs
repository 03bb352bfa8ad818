//! A token, by which a caller over HTTP shows whose it is: how it is written, and what of it is stored.
//!
//! `nse_<id>_<secret>`: the id finds the row, the secret (256 random bits) is known to its holder alone; stored is its
//! SHA-256, which needs no salt for a secret that nobody can guess. The secret has no `Debug` and no `Display`.

use super::Digest;
use sha2::{Digest as _, Sha256};
use std::fmt;

const PREFIX: &str = "nse_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

/// Names a token on the command line and in logs; lets nobody in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(String);

impl TokenId {
    /// `None` when `text` is not the id of a token.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, ID_DIGITS).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole token, as its holder has it.
pub struct Token {
    id: TokenId,
    secret: String,
}

impl Token {
    /// From random bytes: 8 for the id, 32 for the secret.
    pub fn new(random: &[u8; 40]) -> Self {
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let (id, secret) = digits.split_at(ID_DIGITS);
        Self { id: TokenId(id.to_owned()), secret: secret.to_owned() }
    }

    /// `None` when `text` is no token. What it was is not told.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let id = TokenId::parse(id)?;
        is_hex(secret, SECRET_DIGITS).then(|| Self { id, secret: secret.to_owned() })
    }

    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What is stored of the secret.
    pub fn sha256(&self) -> Digest {
        Digest(Sha256::digest(self.secret.as_bytes()).into())
    }

    /// The whole of it, to be shown once to the person who made it.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

/// Takes the same time wherever they differ.
pub fn same_digest(one: &Digest, other: &Digest) -> bool {
    one.0.iter().zip(other.0).fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let mut random = [0; 40];
        random.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n);
        let token = Token::new(&random);
        let text = token.reveal();
        assert_eq!(text.len(), 4 + 16 + 1 + 64);
        let again = Token::parse(&text).unwrap();
        assert_eq!((again.id(), again.sha256()), (token.id(), token.sha256()));
        let upper = text.to_uppercase();
        for bad in ["", "nse_", "nse_0102030405060708_", &text[1..], &text[..80], &format!("{text}0"), &upper] {
            assert!(Token::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn one_bit_makes_another_digest() {
        let mut other = [7; 32];
        assert!(same_digest(&Digest([7; 32]), &Digest(other)));
        other[31] ^= 0x80;
        assert!(!same_digest(&Digest([7; 32]), &Digest(other)));
    }
}
