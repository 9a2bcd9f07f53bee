//! The names of products and customers, and the references of clients to their own orders.

/// A name given by the client: 1 to 128 characters, no control characters, not blank.
///
/// PostgreSQL cannot store U+0000 in a text. It is one of the rejected control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShortText(String);

/// The text is not such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShortTextError {
    /// The text is empty or contains only white space.
    #[error("must not be empty or blank")]
    Blank,
    /// The text has more than [`ShortText::MAX_CHARS`] characters.
    #[error("must have at most {} characters, has {chars}", ShortText::MAX_CHARS)]
    TooLong {
        /// The number of characters.
        chars: usize,
    },
    /// The text contains control characters.
    #[error("must not contain control characters")]
    ControlCharacters,
}

impl ShortText {
    /// The maximum number of characters (Unicode scalar values).
    pub const MAX_CHARS: usize = 128;

    /// Accepts `text` without changing it.
    ///
    /// # Errors
    /// When the text is empty, blank, too long or has control characters.
    pub fn parse(text: String) -> Result<Self, ShortTextError> {
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Checks whether [`Self::parse`] accepts `text`.
    pub(super) fn check(text: &str) -> Result<(), ShortTextError> {
        let chars = text.chars().count();
        if text.trim().is_empty() {
            Err(ShortTextError::Blank)
        } else if chars > Self::MAX_CHARS {
            Err(ShortTextError::TooLong { chars })
        } else if text.chars().any(char::is_control) {
            Err(ShortTextError::ControlCharacters)
        } else {
            Ok(())
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::ShortText;

    #[test]
    fn limits_are_inclusive_and_blank_texts_and_control_characters_are_rejected() {
        let longest = "é".repeat(128);
        let too_long = "é".repeat(129);
        let table: [(&str, bool); 10] = [
            ("sku-1", true),
            (" padded ", true),
            ("日本", true),
            (&longest, true),
            (&too_long, false),
            ("", false),
            ("   \u{3000}", false),
            ("a\0b", false),
            ("a\nb", false),
            ("a\u{85}b", false),
        ];
        for (text, legal) in table {
            assert_eq!(ShortText::parse(text.to_owned()).is_ok(), legal, "{text:?}");
        }
    }
}
