use gatewarden_protocol::Secret;
use proptest::prelude::*;

use super::*;
use crate::tests::fixture::identity;

fn config(most: usize) -> DeviceAuth {
    DeviceAuth {
        enabled: true,
        require_signature: false,
        token_ttl: Duration::from_secs(100),
        max_devices_per_user: most,
        approve_loopback: true,
    }
}

fn introduction(seed: u16, name: &str) -> Introduction {
    Introduction {
        public_key: identity(seed).public_key().to_owned(),
        client_id: "cli".into(),
        client_mode: "cli".into(),
        role: Role::Operator,
        display_name: Some(name.into()),
        platform: "linux".into(),
        device_family: None,
    }
}

fn id(seed: u16) -> String {
    identity(seed).device_id().to_owned()
}

fn scopes(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn asking<'a>(id: &'a str, introduction: &'a Introduction, scopes: &'a [String]) -> Asking<'a> {
    Asking { device_id: id, introduction, scopes, reason: PairingReason::NotPaired, remote: "192.0.2.1" }
}

#[test]
fn what_is_kept_is_read_back_without_the_tokens_themselves() {
    let mut devices = Devices::new(&config(10));
    devices.approve_silently(&id(1), introduction(1, "a"), scopes(&["operator.read"]), |_| false, 5).unwrap();
    let token = Secret::new("a-token-of-some-length");
    devices.token_for(&id(1), Role::Operator, &scopes(&["operator.read"]), None, 5, || token.clone()).unwrap();
    let text = written(&devices);
    assert!(!text.contains(token.expose()));
    let mut read = Devices::read(&config(10), Some(&text)).unwrap();
    assert_eq!(read.check_token(&id(1), Role::Operator, &token, 6), TokenState::Good(scopes(&["operator.read"])));
    assert_eq!(read.owner_of(&token, 6).unwrap().0.id, id(1));
    assert_eq!(written(&read), text);
    // The clear text is gone, so who logs in otherwise gets a new one; the old one stays good.
    let issued =
        read.token_for(&id(1), Role::Operator, &scopes(&["operator.read"]), None, 6, || Secret::new("second")).unwrap();
    assert!(issued.is_fresh);
    assert_eq!(read.check_token(&id(1), Role::Operator, &token, 6), TokenState::Good(scopes(&["operator.read"])));
    let shown = read
        .token_for(&id(1), Role::Operator, &scopes(&["operator.read"]), Some(&token), 6, || unreachable!())
        .unwrap();
    assert_eq!((shown.token, shown.issued_at_ms), (token, 5));
}

#[test]
fn a_damaged_file_is_refused_and_says_what_to_do() {
    let read = |text: &str| Devices::read(&config(10), Some(text)).unwrap_err().to_string();
    assert!(read("{").contains("restore it from a backup"));
    assert!(read(r#"{"version":2,"devices":[]}"#).contains("newer release"));
    let mut devices = Devices::new(&config(10));
    devices.approve_silently(&id(1), introduction(1, "a"), Vec::new(), |_| false, 5).unwrap();
    let text = written(&devices).replace(&id(1), &id(2));
    assert!(read(&text).contains("damaged"), "an id must belong to its key");
    assert!(Devices::read(&config(10), None).unwrap().iter().next().is_none());
}

#[test]
fn tokens_die_with_their_time_and_by_rotation_and_revocation() {
    let mut devices = Devices::new(&config(10));
    let read = scopes(&["operator.read"]);
    devices.approve_silently(&id(1), introduction(1, "a"), read.clone(), |_| false, 0).unwrap();
    let (first, second) = (Secret::new("first"), Secret::new("second"));
    devices.token_for(&id(1), Role::Operator, &read, None, 0, || first.clone()).unwrap();
    assert_eq!(devices.check_token(&id(1), Role::Operator, &first, 99_999), TokenState::Good(read.clone()));
    assert_eq!(devices.check_token(&id(1), Role::Operator, &first, 100_000), TokenState::Expired);
    assert_eq!(devices.check_token(&id(2), Role::Operator, &first, 0), TokenState::Unknown);
    assert!(devices.owner_of(&first, 100_000).is_none());
    devices.rotate(&id(1), Role::Operator, read.clone(), 10, second.clone()).unwrap();
    assert_eq!(devices.check_token(&id(1), Role::Operator, &first, 11), TokenState::Unknown);
    assert_eq!(devices.check_token(&id(1), Role::Operator, &second, 11), TokenState::Good(read));
    assert_eq!(devices.revoke(&id(1), Role::Operator), Some(1));
    assert_eq!(devices.check_token(&id(1), Role::Operator, &second, 11), TokenState::Unknown);
    assert_eq!(devices.revoke(&id(2), Role::Operator), None);
}

#[test]
fn a_request_is_forgotten_when_nobody_repeats_it() {
    let mut devices = Devices::new(&config(10));
    let (who, device) = (introduction(1, "a"), id(1));
    let life = i64::try_from(PENDING_LIFE.as_millis()).unwrap();
    devices.ask(asking(&device, &who, &[]), 0, || "r1".into());
    let again = devices.ask(asking(&device, &who, &[]), life - 1, || unreachable!());
    assert!(!again.is_new);
    assert_eq!(devices.pending(life + 5).count(), 1);
    assert_eq!(devices.pending(2 * life).count(), 0);
    assert_eq!(devices.approve("r1", &scopes(&["operator.admin"]), 2 * life), Err(Unapprovable::Unknown));
}

#[test]
fn nobody_approves_more_than_he_has() {
    let mut devices = Devices::new(&config(10));
    let wanted = scopes(&["operator.read", "operator.admin"]);
    devices.ask(asking(&id(1), &introduction(1, "a"), &wanted), 0, || "r1".into());
    assert_eq!(
        devices.approve("r1", &scopes(&["operator.pairing", "operator.write"]), 1),
        Err(Unapprovable::MissingScope("operator.admin".into()))
    );
    assert!(devices.iter().next().is_none());
    assert_eq!(devices.approve("r1", &scopes(&["operator.admin"]), 1).unwrap().scopes, wanted);
}

#[test]
fn an_approval_does_not_exceed_the_limit_either() {
    let mut devices = Devices::new(&config(1));
    devices.approve_silently(&id(1), introduction(1, "a"), Vec::new(), |_| false, 0).unwrap();
    devices.ask(asking(&id(2), &introduction(2, "a"), &[]), 0, || "r1".into());
    assert_eq!(devices.approve("r1", &[], 1), Err(Unapprovable::NoRoom(NoRoom(1))));
    devices.remove(&id(1)).unwrap();
    assert_eq!(devices.approve("r1", &[], 1).unwrap().id, id(2));
}

#[derive(Debug, Clone)]
enum Step {
    Silent(u16, u8),
    Ask(u16, u8, u8),
    Approve(usize),
    Reject(usize),
    Remove(u16),
    Token(u16),
    Rotate(u16),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u16..40, 0_u8..3).prop_map(|(seed, name)| Step::Silent(seed, name)),
        (0_u16..200, 0_u8..3, 0_u8..3).prop_map(|(seed, name, scope)| Step::Ask(seed, name, scope)),
        (0_usize..80).prop_map(Step::Approve),
        (0_usize..80).prop_map(Step::Reject),
        (0_u16..40).prop_map(Step::Remove),
        (0_u16..40).prop_map(Step::Token),
        (0_u16..40).prop_map(Step::Rotate),
        (0_i64..80_000).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_keeps_its_bounds_and_its_file_whatever_happens(
        most in 1_usize..5,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut devices = Devices::new(&config(most));
        let admin = scopes(&["operator.admin"]);
        let mut now = 0;
        let mut names = 0_u32;
        let mut name = || { names += 1; format!("n{names}") };
        for step in steps {
            let pending: Vec<String> = devices.pending(now).map(|request| request.id.clone()).collect();
            match step {
                Step::Silent(seed, user) if devices.get(&id(seed)).is_none() => {
                    let _ = devices.approve_silently(
                        &id(seed), introduction(seed, &user.to_string()), admin.clone(), |_| false, now,
                    );
                }
                Step::Silent(..) => {}
                Step::Ask(seed, user, scope) => {
                    let wanted = scopes(&[["operator.read", "operator.write", "x"][usize::from(scope)]]);
                    let request = name();
                    devices.ask(asking(&id(seed), &introduction(seed, &user.to_string()), &wanted), now, || request);
                }
                Step::Approve(index) => {
                    if let Some(request) = pending.get(index) {
                        let _ = devices.approve(request, &admin, now);
                    }
                }
                Step::Reject(index) => {
                    if let Some(request) = pending.get(index) {
                        prop_assert!(devices.reject(request, now).is_some());
                        prop_assert!(devices.reject(request, now).is_none());
                    }
                }
                Step::Remove(seed) => {
                    devices.remove(&id(seed));
                    prop_assert!(devices.get(&id(seed)).is_none());
                    prop_assert!(devices.pending(now).all(|request| request.device_id != id(seed)));
                }
                Step::Token(seed) => {
                    let fresh = Secret::new(name());
                    let issued = devices.token_for(&id(seed), Role::Operator, &admin, None, now, || fresh);
                    if let Some(issued) = issued {
                        prop_assert_eq!(devices.check_token(&id(seed), Role::Operator, &issued.token, now), TokenState::Good(admin.clone()));
                    }
                }
                Step::Rotate(seed) => {
                    devices.rotate(&id(seed), Role::Operator, admin.clone(), now, Secret::new(name()));
                }
                Step::Pass(ms) => now += ms,
            }
            prop_assert!(devices.pending.len() <= MAX_PENDING);
            let mut askers: Vec<&str> = devices.pending.iter().map(|request| request.device_id.as_str()).collect();
            askers.sort_unstable();
            let asking_devices = askers.len();
            askers.dedup();
            prop_assert_eq!(askers.len(), asking_devices, "one request a device");
            for device in devices.iter() {
                let of_user = devices.iter().filter(|other| other.introduction.same_user(&device.introduction)).count();
                prop_assert!(of_user <= most, "{} of {}", of_user, most);
                prop_assert!(device.tokens().len() <= 4);
            }
        }
        let text = written(&devices);
        let read = Devices::read(&config(most), Some(&text)).unwrap();
        prop_assert_eq!(written(&read), text);
    }
}

fn written(devices: &Devices) -> String {
    let mut chance = crate::clock::CountingChance::default();
    let mut turn = crate::turn::Turn::new(crate::clock::Now::read(), &mut chance);
    devices.save(&mut turn);
    match turn.into_effects().pop() {
        Some(crate::effect::Effect::Write(FileChange::Replace { text, .. })) => text,
        other => panic!("{other:?}"),
    }
}
