//! Quantities of Kubernetes, such as `100m` or `1Gi`. The API server may return a different spelling from the one
//! that it received: `1000m` becomes `1`.

/// Returns the quantity in thousandths, or `None` if the text is not a quantity.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 3 {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<i128>().ok()?;
    let number = whole
        .parse::<i128>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(thousandths)?;
    let kibi = 1024_i128;
    match suffix {
        "m" if number % 1000 == 0 => Some(number / 1000),
        "" => Some(number),
        "k" => number.checked_mul(1000),
        "M" => number.checked_mul(1_000_000),
        "G" => number.checked_mul(1_000_000_000),
        "T" => number.checked_mul(1_000_000_000_000),
        "Ki" => number.checked_mul(kibi),
        "Mi" => number.checked_mul(kibi.pow(2)),
        "Gi" => number.checked_mul(kibi.pow(3)),
        "Ti" => number.checked_mul(kibi.pow(4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn spellings_of_one_quantity_are_equal() {
        for (one, other) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000k", "1M"),
        ] {
            assert!(parse(one).is_some());
            assert_eq!(parse(one), parse(other), "{one} {other}");
        }
        assert_ne!(parse("1M"), parse("1Mi"));
        for bad in ["", "m", "-1", "1e3", "1.2345", "10s", "sha"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
