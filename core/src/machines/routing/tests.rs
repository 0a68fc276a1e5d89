use proptest::prelude::*;

use super::*;

fn labels(region: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("region".to_owned(), region.to_owned())])
}

fn gateway<'a>(id: i64, name: &'a str, labels: &'a BTreeMap<String, String>) -> RouteCandidate<'a> {
    RouteCandidate {
        id: GatewayId(id),
        name,
        labels,
        configured: id == 1,
        usable: true,
        drained: false,
        full: false,
        load: 0,
        priority: 0,
    }
}

fn route(
    wish: &RouteRequest,
    policy: RoutingPolicy,
    acting: i64,
    fleet: &[RouteCandidate<'_>],
) -> Result<(i64, RouteReason), NoRoute> {
    choose(wish, policy, Some(GatewayId(acting)), fleet).map(|(id, reason)| (id.0, reason))
}

#[test]
fn work_without_a_wish_goes_to_the_acting_primary() {
    let eu = labels("eu");
    let fleet = [gateway(1, "prod", &eu), gateway(2, "backup", &eu)];
    let wish = RouteRequest::default();
    assert_eq!(route(&wish, RoutingPolicy::Primary, 1, &fleet), Ok((1, RouteReason::Primary)));
    assert_eq!(route(&wish, RoutingPolicy::Primary, 2, &fleet), Ok((2, RouteReason::ActingPrimary)));
    assert_eq!(choose(&wish, RoutingPolicy::Primary, None, &fleet), Err(NoRoute::NoneUsable(Vec::new())));
}

#[test]
fn an_agents_preference_by_name_or_id_wins_while_it_can_take_work() {
    let eu = labels("eu");
    let mut fleet = [gateway(1, "prod", &eu), gateway(2, "backup", &eu)];
    for preferred in ["backup", "2"] {
        let wish = RouteRequest { preferred: Some(preferred.into()), ..RouteRequest::default() };
        assert_eq!(route(&wish, RoutingPolicy::Primary, 1, &fleet), Ok((2, RouteReason::Preferred)));
    }
    let wish = RouteRequest { preferred: Some("backup".into()), ..RouteRequest::default() };
    fleet[1].usable = false;
    assert_eq!(route(&wish, RoutingPolicy::Primary, 1, &fleet), Ok((1, RouteReason::Primary)));
    let gone = RouteRequest { preferred: Some("deleted".into()), ..RouteRequest::default() };
    assert_eq!(route(&gone, RoutingPolicy::Primary, 1, &fleet), Ok((1, RouteReason::Primary)));
}

#[test]
fn a_named_gateway_is_taken_or_refused_but_never_replaced() {
    let eu = labels("eu");
    let named = |id| RouteRequest { requested: Some(GatewayId(id)), ..RouteRequest::default() };
    let mut fleet = [gateway(1, "prod", &eu), gateway(2, "backup", &eu)];
    assert_eq!(route(&named(2), RoutingPolicy::LeastLoaded, 1, &fleet), Ok((2, RouteReason::Requested)));
    assert_eq!(route(&named(9), RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::UnknownGateway(GatewayId(9))));
    fleet[1].full = true;
    assert_eq!(route(&named(2), RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::Full(GatewayId(2))));
    fleet[1].usable = false;
    assert_eq!(route(&named(2), RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::NotUsable(GatewayId(2))));
    fleet[1].drained = true;
    assert_eq!(route(&named(2), RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::Drained(GatewayId(2))));
    let picky = RouteRequest { selector: labels("us"), ..named(1) };
    assert_eq!(route(&picky, RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::NotSelected(GatewayId(1))));
}

#[test]
fn the_least_loaded_policy_counts_load_then_priority_then_id() {
    let eu = labels("eu");
    let mut fleet = [gateway(1, "a", &eu), gateway(2, "b", &eu), gateway(3, "c", &eu)];
    let wish = RouteRequest::default();
    fleet[0].load = 1;
    assert_eq!(route(&wish, RoutingPolicy::LeastLoaded, 1, &fleet), Ok((2, RouteReason::LeastLoaded)));
    fleet[2].priority = 1;
    assert_eq!(route(&wish, RoutingPolicy::LeastLoaded, 1, &fleet), Ok((3, RouteReason::LeastLoaded)));
    fleet[2].full = true;
    assert_eq!(route(&wish, RoutingPolicy::LeastLoaded, 1, &fleet), Ok((2, RouteReason::LeastLoaded)));
}

#[test]
fn a_selector_keeps_the_primary_if_it_matches_and_else_takes_the_least_loaded_match() {
    let (eu, us) = (labels("eu"), labels("us"));
    let fleet = [gateway(1, "a", &eu), gateway(2, "b", &us), gateway(3, "c", &us)];
    let wish = |region| RouteRequest { selector: labels(region), ..RouteRequest::default() };
    assert_eq!(route(&wish("eu"), RoutingPolicy::Primary, 1, &fleet), Ok((1, RouteReason::Primary)));
    assert_eq!(route(&wish("us"), RoutingPolicy::Primary, 1, &fleet), Ok((2, RouteReason::LeastLoaded)));
    assert_eq!(route(&wish("mars"), RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::NothingSelected));
}

#[test]
fn work_that_the_primary_certainly_refused_moves_on() {
    let eu = labels("eu");
    let fleet = [gateway(1, "a", &eu), gateway(2, "b", &eu)];
    let wish = RouteRequest { excluded: vec![GatewayId(1)], ..RouteRequest::default() };
    assert_eq!(route(&wish, RoutingPolicy::Primary, 1, &fleet), Ok((2, RouteReason::LeastLoaded)));
    let wish = RouteRequest { excluded: vec![GatewayId(1), GatewayId(2)], ..RouteRequest::default() };
    assert_eq!(route(&wish, RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::NoneUsable(Vec::new())));
}

#[test]
fn a_fleet_at_its_bound_says_so() {
    let eu = labels("eu");
    let mut fleet = [gateway(1, "a", &eu), gateway(2, "b", &eu)];
    fleet[0].full = true;
    assert_eq!(route(&RouteRequest::default(), RoutingPolicy::Primary, 1, &fleet), Err(NoRoute::AllFull));
}

proptest! {
    #[test]
    fn whatever_is_chosen_can_take_work_and_was_not_excluded(
        states in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0_u32..4, any::<bool>()), 0..6),
        acting in 0_i64..7,
        requested in prop::option::of(0_i64..7),
        preferred in prop::option::of("[0-6]|g[0-6]"),
        excluded in prop::collection::vec(0_i64..7, 0..3),
        select in any::<bool>(),
        least in any::<bool>(),
    ) {
        let (eu, us) = (labels("eu"), labels("us"));
        let names: Vec<String> = (0..states.len()).map(|index| format!("g{index}")).collect();
        let fleet: Vec<RouteCandidate<'_>> = states
            .iter()
            .enumerate()
            .map(|(index, (usable, drained, full, load, in_eu))| RouteCandidate {
                id: GatewayId(index as i64),
                name: &names[index],
                labels: if *in_eu { &eu } else { &us },
                configured: index == 0,
                usable: *usable,
                drained: *drained,
                full: *full,
                load: *load,
                priority: 0,
            })
            .collect();
        let wish = RouteRequest {
            preferred,
            requested: requested.map(GatewayId),
            selector: if select { labels("eu") } else { BTreeMap::new() },
            excluded: excluded.into_iter().map(GatewayId).collect(),
        };
        let policy = if least { RoutingPolicy::LeastLoaded } else { RoutingPolicy::Primary };
        if let Ok((id, reason)) = choose(&wish, policy, Some(GatewayId(acting)), &fleet) {
            let chosen = fleet.iter().find(|candidate| candidate.id == id).unwrap();
            prop_assert!(chosen.usable && !chosen.drained && !chosen.full);
            prop_assert!(!wish.excluded.contains(&id));
            prop_assert!(!select || chosen.labels == &eu);
            if let Some(requested) = wish.requested {
                prop_assert!(id == requested || reason == RouteReason::Preferred);
            }
        }
    }
}
