use futures_util::task::noop_waker;
use proptest::prelude::*;

use super::*;

fn held(account: &MemoryAccount, bytes: usize) -> MemoryPermit {
    let mut permit = account.permit();
    permit.grow_to(bytes).unwrap();
    permit
}

#[test]
fn permits_are_given_back_when_dropped_and_shrink_on_request() {
    let budget = MemoryBudget::with_limits(100, 80);
    let account = budget.account();
    let mut one = held(&account, 60);
    let mut other = account.permit();
    assert_eq!(other.grow_to(21), Err(Excess::Own), "one gateway's part is 80");
    other.grow_to(20).unwrap();
    one.grow_to(10).unwrap();
    assert_eq!((budget.used(), one.bytes()), (80, 60), "growing never shrinks");
    one.set_to(10).unwrap();
    assert_eq!((budget.used(), account.used()), (30, 30));
    assert_eq!(one.grow_to(usize::MAX), Err(Excess::Own));
    drop((one, other));
    assert_eq!((budget.used(), account.used()), (0, 0));
}

#[test]
fn where_all_is_spent_the_greediest_connection_is_chosen_whoever_asks() {
    let budget = MemoryBudget::with_limits(100, 60);
    let (greedy, modest, asking) = (budget.account(), budget.account(), budget.account());
    let connections = [&greedy, &modest, &asking].map(MemoryAccount::connect);
    let much = held(&greedy, 60);
    let _little = held(&modest, 30);
    let mut wanted = asking.permit();
    wanted.grow_to(20).unwrap();
    let waker = noop_waker();
    assert_eq!(connections.each_ref().map(|one| one.is_chosen(&waker)), [true, false, false]);
    drop(much);
    assert_eq!(budget.used(), 50);
}

#[test]
fn the_greediest_that_asks_is_refused_itself() {
    let budget = MemoryBudget::with_limits(100, 80);
    let (modest, asking) = (budget.account(), budget.account());
    let connections = [&modest, &asking].map(MemoryAccount::connect);
    let _little = held(&modest, 30);
    let mut much = held(&asking, 60);
    assert_eq!(much.grow_to(75), Err(Excess::Shared));
    assert_eq!((budget.used(), much.bytes()), (90, 60));
    let waker = noop_waker();
    assert!(connections.iter().all(|one| !one.is_chosen(&waker)));
}

#[test]
fn what_no_connection_stands_behind_cannot_be_freed_by_ending_one() {
    let budget = MemoryBudget::with_limits(100, 80);
    let (gone, asking) = (budget.account(), budget.account());
    let _kept = held(&gone, 80);
    let _connection = asking.connect();
    let mut wanted = asking.permit();
    assert_eq!(wanted.grow_to(30), Err(Excess::Shared));
    wanted.grow_to(20).unwrap();
}

#[test]
fn a_connection_made_anew_is_not_chosen_any_more() {
    let budget = MemoryBudget::with_limits(100, 100);
    let (greedy, asking) = (budget.account(), budget.account());
    let first = greedy.connect();
    let _other = asking.connect();
    let much = held(&greedy, 90);
    let _asked = held(&asking, 20);
    let waker = noop_waker();
    assert!(first.is_chosen(&waker));
    drop((first, much));
    assert!(!greedy.connect().is_chosen(&waker));
}

#[test]
fn values_are_counted_beyond_the_first_few_and_on_top_of_their_text() {
    let account = MemoryBudget::default().account();
    let mut permit = held(&account, 1_000_000);
    let mut decoding = permit.decoding();
    decoding.take(COUNTED_FROM).unwrap();
    assert_eq!(account.used(), 1_000_000, "heartbeats cost nothing");
    decoding.take(500_000).unwrap();
    assert!(account.used() >= 1_500_000);
    decoding.keep_values();
    assert!((500_000..600_000).contains(&account.used()), "{}", account.used());
    assert_eq!(permit.decoding().take(DEFAULT_PER_GATEWAY), Err(Excess::Own));
    drop(permit);
    assert_eq!(account.used(), 0);
}

#[test]
fn accounts_that_are_gone_are_forgotten() {
    let budget = MemoryBudget::default();
    for _ in 0..1_000 {
        drop(budget.account());
    }
    assert!(budget.shared.accounts().len() < 10);
}

#[derive(Debug, Clone)]
enum Step {
    Grow(usize, usize),
    Set(usize, usize),
    Drop(usize),
    Connect(usize),
    Disconnect(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let (who, bytes) = (0_usize..6, 0_usize..1_200);
    prop_oneof![
        (who.clone(), bytes.clone()).prop_map(|(who, bytes)| Step::Grow(who, bytes)),
        (who.clone(), bytes).prop_map(|(who, bytes)| Step::Set(who, bytes)),
        who.clone().prop_map(Step::Drop),
        who.clone().prop_map(Step::Connect),
        who.prop_map(Step::Disconnect),
    ]
}

proptest! {
    #[test]
    fn no_account_and_no_budget_ever_holds_more_than_its_bound(steps in prop::collection::vec(any_step(), 0..80)) {
        let (limit, each) = (2_500, 1_000);
        let budget = MemoryBudget::with_limits(limit, each);
        let accounts: Vec<MemoryAccount> = (0..6).map(|_| budget.account()).collect();
        let mut permits: Vec<MemoryPermit> = accounts.iter().map(MemoryAccount::permit).collect();
        let mut connections: Vec<Option<Connected>> = (0..6).map(|_| None).collect();
        let waker = noop_waker();
        for step in steps {
            match step {
                Step::Grow(who, bytes) => drop(permits[who].grow_to(bytes)),
                Step::Set(who, bytes) => drop(permits[who].set_to(bytes)),
                Step::Drop(who) => permits[who] = accounts[who].permit(),
                Step::Connect(who) => connections[who] = Some(accounts[who].connect()),
                Step::Disconnect(who) => connections[who] = None,
            }
            let held: usize = permits.iter().map(MemoryPermit::bytes).sum();
            prop_assert_eq!(budget.used(), held);
            prop_assert!(accounts.iter().all(|account| account.used() <= each));
            let leaving: usize = (0..6)
                .filter(|who| connections[*who].as_ref().is_some_and(|one| one.is_chosen(&waker)))
                .map(|who| permits[who].bytes())
                .sum();
            prop_assert!(held <= limit + each, "{} with {} leaving", held, leaving);
        }
    }
}
