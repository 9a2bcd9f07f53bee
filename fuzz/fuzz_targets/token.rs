#![no_main]

use std::sync::LazyLock;

use order_service::fuzz::Tokens;

/// Generating the keys takes longer than many runs.
static TOKENS: LazyLock<Tokens> = LazyLock::new(Tokens::new);

libfuzzer_sys::fuzz_target!(|data: &[u8]| TOKENS.token(data));
