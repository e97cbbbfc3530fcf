//! CHAP with MD5 (RFC 7143, section 12.1.3; RFC 1994): proof of a secret without telling it.

/// Number of the only algorithm: MD5.
pub const ALGORITHM_MD5: &str = "5";
/// Length of a response.
pub const RESPONSE_LEN: usize = 16;
/// Longest challenge (RFC 7143, 12.1.3).
pub const CHALLENGE_LEN_MAX: usize = 1024;

/// Who logs in, and with what secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name.
    pub user: String,
    /// Secret.
    pub secret: String,
}

// A secret must not reach a log by way of a derived Debug.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The response to a challenge: MD5 over identifier, secret and challenge.
#[must_use]
pub fn response(identifier: u8, secret: &[u8], challenge: &[u8]) -> [u8; RESPONSE_LEN] {
    let mut context = md5::Context::new();
    context.consume([identifier]);
    context.consume(secret);
    context.consume(challenge);
    context.finalize().0
}

/// Compares two responses in a time that does not depend on where they differ.
#[must_use]
pub fn is_equal(expected: &[u8; RESPONSE_LEN], found: &[u8]) -> bool {
    let differences = expected.iter().zip(found).fold(0, |seen, (a, b)| seen | (a ^ b));
    found.len() == RESPONSE_LEN && differences == 0
}
