//! The short texts that name a product or a customer.

/// A name given by the client: 1 to 128 characters, no control characters, not blank.
///
/// PostgreSQL cannot store U+0000 in a text; refusing control characters covers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShortText(String);

impl ShortText {
    /// The most characters (Unicode scalar values) a label may have.
    pub const MAX_CHARS: usize = 128;

    /// Accepts `text` as it is, or says what is wrong with it.
    ///
    /// # Errors
    /// A sentence for a person when the text is empty, blank, too long or has control characters.
    pub fn parse(text: String) -> Result<Self, String> {
        let chars = text.chars().count();
        if text.trim().is_empty() {
            Err("must not be empty or blank".to_owned())
        } else if chars > Self::MAX_CHARS {
            Err(format!(
                "must have at most {} characters, has {chars}",
                Self::MAX_CHARS
            ))
        } else if text.chars().any(char::is_control) {
            Err("must not contain control characters".to_owned())
        } else {
            Ok(Self(text))
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
    fn accepts_and_refuses() {
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
