use super::*;

fn load(dir: &Path) -> SealingKey {
    SealingKey::load_or_create(None, dir).unwrap()
}

#[test]
fn a_new_key_is_written_once_with_a_narrow_mode_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut key = load(&state);
    assert!(key.is_new());
    assert!(!key.path().exists(), "nothing is written before the store asks for it");
    key.write_if_new().unwrap();
    assert_eq!(fs::metadata(key.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    let again = load(&state);
    assert!(!again.is_new());
    assert_eq!(again.bytes(), key.bytes());
}

#[test]
fn a_new_key_never_replaces_a_file_that_appeared_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut mine = load(dir.path());
    let mut other = load(dir.path());
    other.write_if_new().unwrap();
    let error = mine.write_if_new().unwrap_err();
    assert!(matches!(error, KeyError::NotWritable { .. }), "{error}");
    assert_eq!(load(dir.path()).bytes(), other.bytes());
}

#[test]
fn a_credential_goes_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = tempfile::tempdir().unwrap();
    load(dir.path()).write_if_new().unwrap();
    fs::write(credentials.path().join(KEY_FILE_NAME), [9_u8; 32]).unwrap();
    let key = SealingKey::load_or_create(Some(credentials.path()), dir.path()).unwrap();
    assert_eq!(key.bytes(), &[9; 32]);
    let without = SealingKey::load_or_create(Some(&dir.path().join("none")), dir.path()).unwrap();
    assert_ne!(without.bytes(), &[9; 32]);
}

#[test]
fn a_key_may_be_raw_hex_or_base64() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(KEY_FILE_NAME);
    let spellings = [vec![0xab; 32], "ab".repeat(32).into_bytes(), format!("{}\n", "AB".repeat(32)).into_bytes()];
    let encoded = [STANDARD.encode([0xab; 32]), STANDARD_NO_PAD.encode([0xab; 32])];
    for content in spellings.into_iter().chain(encoded.map(String::into_bytes)) {
        fs::write(&path, &content).unwrap();
        assert_eq!(load(dir.path()).bytes(), &[0xab; 32], "{:?}", String::from_utf8_lossy(&content));
    }
}

#[test]
fn a_malformed_key_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(KEY_FILE_NAME);
    for content in ["", "short", &"g".repeat(64), &"+1".repeat(32), &"a".repeat(5000)] {
        fs::write(&path, content).unwrap();
        let error = SealingKey::load_or_create(None, dir.path()).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        assert_eq!(error.exit_code(), 78);
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_key_that_others_can_read_is_narrowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(KEY_FILE_NAME);
    fs::write(&path, [1_u8; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(load(dir.path()).bytes(), &[1; 32]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn debug_shows_nothing_of_the_key() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(KEY_FILE_NAME), [171_u8; 32]).unwrap();
    assert!(!format!("{:?}", load(dir.path())).contains("171"));
}
