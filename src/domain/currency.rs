//! The currencies of amounts (ISO 4217).

use std::str::FromStr;

/// The code of a currency: three upper-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency([u8; 3]);

/// The text is not the code of a currency that orders may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an active code of ISO 4217, in upper case, of a currency with a minor unit")]
pub struct UnknownCurrency;

/// The text is not the code of a currency that imported orders may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a code of ISO 4217, in upper case: one of a currency with a minor unit, or a withdrawn one"
)]
pub struct UnknownImportedCurrency;

impl Currency {
    /// Accepts the codes of new orders, and those of list three, which have been withdrawn. The standard has no minor
    /// units for them any more, so amounts are in the unit in which the other system counts.
    ///
    /// # Errors
    /// [`UnknownImportedCurrency`].
    pub fn parse_imported(code: &str) -> Result<Self, UnknownImportedCurrency> {
        rust_iso4217::ALL_MAP
            .get(code)
            .filter(|entry| entry.code_type == WITHDRAWN || entry.unit >= 0)
            .and_then(|_| Self::from_stored(code))
            .ok_or(UnknownImportedCurrency)
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Creates a currency from a code that was validated before it was stored. It may have been withdrawn since.
    pub fn from_stored(code: &str) -> Option<Self> {
        let code: [u8; 3] = code.as_bytes().try_into().ok()?;
        str::from_utf8(&code).ok().map(|_| Self(code))
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    /// Accepts the codes of list one that have a minor unit. Precious metals and codes for testing have none.
    fn from_str(code: &str) -> Result<Self, UnknownCurrency> {
        rust_iso4217::ALL_MAP
            .get(code)
            .filter(|entry| entry.code_type != WITHDRAWN && entry.unit >= 0)
            .and_then(|_| Self::from_stored(code))
            .ok_or(UnknownCurrency)
    }
}

/// The type of the codes of list three in `rust_iso4217`, which has -1 as the minor unit of codes without one.
const WITHDRAWN: &str = "historic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_currencies_with_a_minor_unit_are_accepted() {
        // Without decimals, with two, three and four, and a fund. XCG and ZWG are recent, VED and VES are both active.
        for code in [
            "JPY", "EUR", "USD", "BHD", "CLF", "UYW", "CHE", "XCG", "ZWG", "VED", "VES", "XAD",
        ] {
            let currency: Currency = code.parse().unwrap();
            assert_eq!(currency.as_str(), code);
            assert_eq!(Currency::from_stored(code), Some(currency));
        }
        // Withdrawn: Croatia, Bulgaria and Sierra Leone have other currencies, the guilder is XCG.
        let withdrawn = ["HRK", "BGN", "SLL", "ANG", "ZWL", "DEM", "CUC"];
        // Gold, special drawing rights, testing, no currency.
        let without_minor_unit = ["XAU", "XDR", "XTS", "XXX"];
        let malformed = ["", "eur", "EU", "EURO", "978", "€UR", "ſek"];
        for code in [&withdrawn[..], &without_minor_unit, &malformed].concat() {
            assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency), "{code}");
        }
        for code in withdrawn {
            assert!(Currency::parse_imported(code).is_ok(), "{code}");
        }
        assert!(Currency::parse_imported("EUR").is_ok());
        for code in [&without_minor_unit[..], &malformed].concat() {
            assert!(Currency::parse_imported(code).is_err(), "{code}");
        }
    }

    #[test]
    fn the_list_is_that_of_january_2026() {
        let legal = rust_iso4217::ALL_MAP.keys();
        let legal = legal.filter(|code| code.parse::<Currency>().is_ok());
        assert_eq!(legal.count(), 165);
    }
}
