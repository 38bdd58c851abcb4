//! Tickets, and streams that ask for them.

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Data1, Pass, eventually, nodes, quiet, soon, within};
use mosaik::{
    discovery::PeerEntry,
    tickets::{Expiration, InvalidTicket, Ticket, TicketValidator},
    *,
};

#[test]
fn a_ticket_is_its_class_and_its_data() {
    let class = id!("tickets.test");
    let ticket = Ticket::new(class, String::from("data").into());
    assert_eq!(ticket.id(), class.derive("data"));
    assert_eq!(ticket.data(), &Bytes::from_static(b"data"));
    assert_eq!(ticket.to_string(), format!("Ticket({class},36)"));
    assert_eq!(ticket, Ticket { class, data: "data".into() });
    assert_ne!(ticket.id(), Ticket::new(class, "other".into()).id());
    assert_ne!(ticket.id(), Ticket::new(id!("other"), "data".into()).id());
    const _: fn(UniqueId, Bytes) -> Ticket = Ticket::new;
}

#[test]
fn expirations_are_ordered_by_time() {
    let hour = chrono::Duration::hours(1);
    assert!(Expiration::already_expired().is_expired());
    assert!(!Expiration::Never.is_expired() && !Expiration::in_1h().is_expired());
    let order = [
        Expiration::already_expired(),
        Expiration::after(hour / 2),
        Expiration::in_1h(),
        Expiration::in_3h(),
        Expiration::in_6h(),
        Expiration::in_24h(),
        Expiration::in_n_hours(48),
        Expiration::never(),
    ];
    assert!(order.is_sorted_by(|a, b| a < b));
    assert_eq!(Expiration::Never.remaining(), None);
    assert_eq!(Expiration::already_expired().remaining(), None);
    let left = Expiration::after(hour).remaining().expect("an hour");
    assert!(left <= Duration::from_secs(3600) && left > Duration::from_secs(3500));
}

#[tokio::test]
async fn entries_judge_tickets() -> anyhow::Result<()> {
    let n = Network::new(NetworkId::random()).await?;
    let pass = Pass::new("judge");
    let me = || n.discovery().me();
    assert_eq!(me().validate_ticket(&pass), Err(InvalidTicket));
    n.discovery().add_ticket(Pass { secret: 7, ..pass }.ticket())?;
    assert_eq!(me().validate_ticket(&pass), Err(InvalidTicket), "the wrong secret");
    n.discovery().add_ticket(pass.until(Expiration::in_1h()))?;
    let hour = me().validate_ticket(&pass)?;
    assert!(hour < Expiration::in_3h());
    n.discovery().add_ticket(pass.until(Expiration::in_24h()))?;
    assert!(me().validate_ticket(&pass)? > hour, "the latest of a class");

    let boxed: Box<dyn TicketValidator> = Box::new(pass);
    assert!(me().validate_ticket(&boxed).is_ok());
    assert_eq!(boxed.signature(), pass.signature());
    let now = proto::time::UnixMillis(chrono::Utc::now().timestamp_millis() as u64);
    let other = Pass::new("judge.other");
    let both: [Arc<dyn TicketValidator>; 2] = [Arc::new(pass), Arc::new(other)];
    assert_eq!(me().validate_tickets(&both, now), Err(InvalidTicket), "all must pass");
    n.discovery().add_ticket(other.until(Expiration::in_3h()))?;
    let earliest = me().validate_tickets(&both, now)?;
    assert!(earliest < Expiration::in_6h(), "the earliest of several validators");
    Ok(())
}

#[tokio::test]
async fn a_producer_asks_for_a_ticket() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let pass = Pass::new("of-consumer");
    let producer = n0.streams().producer::<Data1>().require_ticket(pass).build()?;
    let mut consumer = n1.streams().consume::<Data1>();
    quiet(Duration::from_millis(200), producer.when().subscribed()).await;
    for wrong in [
        Pass { secret: 1, ..pass }.ticket(),
        Pass::new("other-class").ticket(),
        pass.until(Expiration::already_expired()),
        Ticket::new(pass.class, Bytes::new()),
    ] {
        n1.discovery().add_ticket(wrong)?;
    }
    quiet(Duration::from_millis(200), producer.when().subscribed()).await;

    // Any valid one of several is enough, and it helps at once.
    n1.discovery().add_ticket(pass.ticket())?;
    within(Duration::from_secs(5), producer.send(Data1("in".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("in".into())));

    // Without it the stream is over at once.
    n1.discovery().remove_ticket(pass.ticket().id())?;
    within(Duration::from_secs(5), producer.when().unsubscribed()).await;
    assert!(!producer.is_online());
    Ok(())
}

#[tokio::test]
async fn a_consumer_asks_for_a_ticket() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let pass = Pass::new("of-producer");
    let producer = n0.streams().produce::<Data1>();
    let mut consumer = n1.streams().consumer::<Data1>().require_ticket(pass).build();
    quiet(Duration::from_millis(200), producer.when().subscribed()).await;
    assert_eq!(consumer.producers().count(), 0);
    n0.discovery().add_ticket(pass.ticket())?;
    within(Duration::from_secs(5), producer.send(Data1("in".into()))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data1("in".into())));
    n0.discovery().remove_tickets_of(pass.class)?;
    within(Duration::from_secs(5), producer.when().unsubscribed()).await;
    eventually(|| consumer.producers().count() == 0).await;
    Ok(())
}

#[tokio::test]
async fn several_validators_must_all_pass() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let (first, second) = (Pass::new("first"), Pass::new("second"));
    let producer = n0
        .streams()
        .producer::<Data1>()
        .require_ticket(first)
        .require_ticket(Box::new(second) as Box<dyn TicketValidator>)
        .build()?;
    let _consumer = n1.streams().consume::<Data1>();
    n1.discovery().add_ticket(first.ticket())?;
    quiet(Duration::from_millis(200), producer.when().subscribed()).await;
    n1.discovery().add_ticket(second.ticket())?;
    soon(producer.when().subscribed()).await;
    n1.discovery().remove_tickets_of(first.class)?;
    soon(producer.when().unsubscribed()).await;
    Ok(())
}

/// The life of the tickets here; long enough to subscribe on a busy machine.
const LIFE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn expiry_cuts_on_the_producers_side() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let pass = Pass::new("expiry.producer");
    let start = Instant::now();
    n1.discovery().add_ticket(pass.lasting(LIFE))?;
    let producer = n0.streams().producer::<Data1>().require_ticket(pass).build()?;
    let consumer = n1.streams().consume::<Data1>();
    soon(producer.when().subscribed()).await;
    soon(producer.when().unsubscribed()).await;
    let after = start.elapsed();
    assert!(after >= LIFE - Duration::from_millis(50) && after < LIFE * 2, "{after:?}");
    quiet(Duration::from_millis(300), producer.when().subscribed()).await;
    assert!(consumer.producers().all(|p| !p.is_connected()));
    n1.discovery().replace_ticket(pass.ticket())?;
    soon(producer.when().subscribed()).await;
    Ok(())
}

#[tokio::test]
async fn expiry_cuts_on_the_consumers_side() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let pass = Pass::new("expiry.consumer");
    let start = Instant::now();
    n0.discovery().add_ticket(pass.lasting(LIFE))?;
    let producer = n0.streams().produce::<Data1>();
    let consumer = n1.streams().consumer::<Data1>().require_ticket(pass).build();
    soon(consumer.when().subscribed()).await;
    soon(consumer.when().unsubscribed()).await;
    let after = start.elapsed();
    assert!(after >= LIFE - Duration::from_millis(50) && after < LIFE * 2, "{after:?}");
    soon(producer.when().offline()).await;
    Ok(())
}

/// Who renews in time is not cut: not even for a moment, and no item is lost.
#[tokio::test]
async fn renewal_does_not_cut() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    let pass = Pass::new("renewal");
    for n in [&n0, &n1] {
        n.discovery().add_ticket(pass.lasting(LIFE))?;
    }
    let producer = n0.streams().producer::<Data1>().require_ticket(pass).build()?;
    let mut consumer = n1.streams().consumer::<Data1>().require_ticket(pass).build();
    soon(producer.when().subscribed()).await;
    soon(consumer.when().subscribed()).await;
    let cut = [producer.when().unsubscribed(), consumer.when().unsubscribed()];
    let [of_producer, of_consumer] = cut.map(tokio::spawn);
    tokio::time::sleep(LIFE / 3).await;
    n0.discovery().replace_ticket(pass.ticket())?;
    n1.discovery().add_ticket(pass.until(Expiration::in_1h()))?;
    for n in 0..15 {
        producer.send(Data1(n.to_string())).await?;
        assert_eq!(soon(consumer.next()).await, Some(Data1(n.to_string())));
        tokio::time::sleep(LIFE / 10).await;
    }
    tokio::task::yield_now().await;
    assert!(!of_producer.is_finished() && !of_consumer.is_finished());
    Ok(())
}

/// Never comes to a verdict.
struct Panics;

impl TicketValidator for Panics {
    fn class(&self) -> UniqueId {
        id!("panics")
    }

    fn signature(&self) -> UniqueId {
        id!("panics.v1")
    }

    fn validate(&self, _: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        panic!("deliberate, about {}", peer.id())
    }
}

#[tokio::test]
async fn a_panicking_validator_denies() -> anyhow::Result<()> {
    let [n0, n1] = nodes().await;
    n1.discovery().add_ticket(Ticket::new(id!("panics"), Bytes::new()))?;
    let closed = n0.streams().producer::<Data1>().require_ticket(Panics).build()?;
    let _consumer = n1.streams().consume::<Data1>();
    quiet(Duration::from_millis(300), closed.when().subscribed()).await;
    let open = n0.streams().producer::<Data1>().with_stream_id("open").build()?;
    let mut reader = n1.streams().consumer::<Data1>().with_stream_id("open").build();
    soon(open.send(Data1("alive".into()))).await?;
    assert_eq!(soon(reader.next()).await, Some(Data1("alive".into())));
    Ok(())
}
