use proptest::prelude::*;

use super::*;

fn version(text: &str) -> CalendarVersion {
    text.parse().unwrap()
}

#[test]
fn versions_are_ordered_by_date_then_beta_release_revision() {
    let ordered = [
        "2025.12.31",
        "2026.2.19",
        "2026.3.2",
        "2026.3.24-beta.1",
        "2026.3.24-beta.10",
        "2026.3.24",
        "2026.3.24-1",
        "2026.3.24-2",
        "2026.9.6",
        "2026.10.1",
    ];
    for pair in ordered.windows(2) {
        assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
    }
}

#[test]
fn leading_zeros_a_v_and_build_metadata_change_nothing() {
    assert_eq!(version("2026.02.9"), version("2026.2.9"));
    assert_eq!(version("v2026.9.6"), version("2026.9.6"));
    assert_eq!(version(" 2026.9.6 "), version("2026.9.6+abc-1"));
    assert_eq!(version("2026.9.6-beta1"), version("2026.9.6-beta.1"));
}

#[test]
fn the_text_of_a_version_reads_back() {
    for text in ["2026.9.6", "2026.9.6-2", "2026.9.6-beta.3"] {
        assert_eq!(version(text).to_string(), text);
    }
}

#[test]
fn dev_and_unknown_are_no_versions() {
    for text in [
        "dev",
        "unknown",
        "",
        "2026",
        "2026.9",
        "2026.9.6.1",
        "2026.9.x",
        "2026.-9.6",
        "2026.9.6-",
        "2026.9.6-x.1",
        "9999999999.1.1",
        "2026..6",
        "v",
        "+",
        "2026.9.６",
    ] {
        assert_eq!(CalendarVersion::known(text), None, "{text}");
    }
    assert!("dev".parse::<CalendarVersion>().unwrap_err().to_string().contains("\"dev\" is no version like 2026.9.6"));
}

fn any_version() -> impl Strategy<Value = CalendarVersion> {
    let suffix = prop_oneof![
        Just(String::new()),
        (0_u32..3).prop_map(|n| format!("-{n}")),
        (0_u32..3).prop_map(|n| format!("-beta.{n}"))
    ];
    (2025_u32..2028, 1_u32..4, 1_u32..4, suffix).prop_map(|(y, m, d, suffix)| version(&format!("{y}.{m}.{d}{suffix}")))
}

proptest! {
    #[test]
    fn the_order_is_total(a in any_version(), b in any_version(), c in any_version()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
        prop_assert_eq!(version(&a.to_string()), a);
    }

    #[test]
    fn any_text_is_a_version_or_an_error(text in ".{0,40}") {
        let _ = CalendarVersion::known(&text);
    }
}

#[test]
fn an_embedded_gateway_is_known_by_its_build() {
    assert!(is_embedded("2026.9.6+gatewarden.0.1.0"));
    for other in ["2026.9.6", "2026.9.6+build.7", "gatewarden", "dev"] {
        assert!(!is_embedded(other), "{other}");
    }
}
