use super::*;

fn key(byte: u8) -> CursorKey {
    CursorKey::new(vec![byte; 32].into()).unwrap()
}

fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

fn position(position: i64, seq: i64) -> Position {
    Position(Some(EventKey {
        position,
        seq,
        order_id: Uuid::from_u128(0x0199_a3c4_5d6e_7f80_9a1b_2c3d_4e5f_6071),
        version: 3,
        occurred_at: 1_764_000_000_123_456,
    }))
}

#[test]
fn a_cursor_opens_to_its_position_and_is_the_same_each_time() {
    let (key, acme) = (key(1), tenant("acme"));
    for position in [
        Position(None),
        position(12, 7),
        position(0, i64::MAX),
        position(i64::MAX, 1),
    ] {
        let cursor = key.seal(&acme, position).unwrap();
        assert_eq!(key.open(&acme, &cursor), Some(position));
        assert_eq!(key.seal(&acme, position).unwrap(), cursor);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
}

#[test]
fn a_cursor_opens_only_as_it_was_sealed() {
    let acme = tenant("acme");
    let cursor = key(1).seal(&acme, position(12, 7)).unwrap();
    assert_eq!(
        key(1).open(&tenant("acme2"), &cursor),
        None,
        "another tenant"
    );
    assert_eq!(key(2).open(&acme, &cursor), None, "another database");
    for bit in 0..CURSOR_BYTES * 8 {
        let mut changed = cursor;
        changed.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key(1).open(&acme, &changed), None, "bit {bit}");
    }
}

/// Cursors of neighbouring positions show nothing of the distance.
#[test]
fn the_numbers_of_a_position_are_not_visible() {
    let (key, acme) = (key(1), tenant("acme"));
    let sealed = |at, seq| key.seal(&acme, position(at, seq)).unwrap().0;
    let (one, next) = (sealed(1_000_000, 1), sealed(1_000_000, 2));
    let different = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a != b).count();
    assert!(different(&one[NONCE_BYTES..], &next[NONCE_BYTES..]) > 30);
    let number = 1_000_000_i64.to_be_bytes();
    assert!(!one.windows(8).any(|window| window == number));
}

/// RFC 8452, appendix C.2: the cipher is the standard one, so that another implementation could read cursors.
#[test]
fn the_cipher_is_that_of_the_rfc() {
    let mut key = vec![0; 32];
    key[0] = 1;
    let mut nonce = [0; 12];
    nonce[0] = 3;
    let key = CursorKey::new(key.into()).unwrap();
    let mut text = [0; 8];
    text[0] = 1;
    let tag = key.key.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::empty(),
        &mut text,
    );
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&text), "c2ef328e5c71c83b");
    assert_eq!(
        hex(tag.unwrap().as_ref()),
        "843122130f7364b761e0b97427e3df28"
    );
}

#[test]
fn the_key_is_not_printed() {
    let bytes = KeyBytes::from(vec![42; 32]);
    assert_eq!(format!("{bytes:?}"), "KeyBytes(..)");
}

#[test]
fn a_key_of_another_database_replaces_the_current_one() {
    let current = CurrentKey::default();
    assert!(current.get().is_none());
    let first = current.renew(vec![1; 32].into()).unwrap();
    let same = current.renew(vec![1; 32].into()).unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let second = current.renew(vec![2; 32].into()).unwrap();
    assert!(Arc::ptr_eq(&second, &current.get().unwrap()));
    assert!(current.renew(vec![1; 31].into()).is_err());
}
