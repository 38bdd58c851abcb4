//! A market in five nodes: three matchers keep one order book as a group, two traders send orders
//! and get fills by typed streams. Any matcher may die at any moment.
//!
//! ```text
//! cargo run --example orderbook                          # the orders of orders.txt
//! cargo run --example orderbook -- --kill                # the same, and the leading matcher dies halfway
//! echo 'carol buy 5 @ 1.00' | cargo run --example orderbook -- -
//! ```
//!
//! ```text
//! traders ── Order ──► every matcher ──► execute ──► the book, the same on all three
//!    ▲                                                        │
//!    └──────────────────────── Fill ◄─────────────────────────┘
//! ```

mod book;
mod orders;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, BufRead},
};

use mosaik::{discovery::Config, *};
use tokio::task::JoinHandle;

use self::book::{Answer, Book, Fill, Order, Question};

const MATCHERS: usize = 3;

type Failure = Box<dyn Error + Send + Sync>;

/// A matcher: takes orders, keeps the book, publishes trades.
struct Matcher {
    network: Network,
    group: std::sync::Arc<Group<Book>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Matcher {
    async fn start(key: GroupKey) -> Result<Self, Failure> {
        let network = node().await?;
        let group = network.groups().with_key(key).with_state_machine(Book::default()).join();
        let group = std::sync::Arc::new(group);
        let mut orders = network.streams().consume::<Order>();
        let taking = tokio::spawn({
            let group = group.clone();
            async move {
                while let Some(order) = orders.next().await {
                    // Each matcher hands in every order, so that none depends on one of them: the book
                    // takes each once. What is executed is in force for ever, whoever dies.
                    if let Err(error) = group.execute(order).await {
                        eprintln!("an order was not taken: {error}");
                    }
                }
            }
        });
        let fills = network.streams().produce::<Fill>();
        let publishing = tokio::spawn({
            let group = group.clone();
            async move {
                let mut next = 1;
                fills.when().subscribed().minimum_of(1).await;
                loop {
                    let advanced = group.when().committed().advanced();
                    if let Ok(answer) = group.query(Question::FillsFrom(next), Weak).await
                        && let Answer::Fills(new) = answer.result()
                    {
                        next += new.len() as u64;
                        for fill in new {
                            if fills.send(fill.clone()).await.is_err() {
                                return;
                            }
                        }
                    }
                    advanced.await;
                }
            }
        });
        Ok(Self { network, group, tasks: vec![taking, publishing] })
    }

    /// What this matcher's book holds now, as of the latest command of the whole group.
    async fn depth(&self) -> Result<Answer, Failure> {
        Ok(self.group.query(Question::Depth, Strong).await?.result().clone())
    }

    /// Dies without a word to its group.
    async fn die(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.network.shutdown().await;
    }
}

/// A node of this market that looks for the others at once.
async fn node() -> Result<Network, Failure> {
    let at_once = Config::builder().with_local_discovery(true);
    Ok(Network::builder(NetworkId::from("orderbook")).with_discovery(at_once).build().await?)
}

/// Prints each trade once, in order, whichever matcher tells it first.
async fn print_fills(mut fills: streams::Consumer<Fill>, until: u64) {
    let (mut next, mut early) = (1, BTreeMap::new());
    while next <= until
        && let Some(fill) = fills.next().await
    {
        early.insert(fill.number, fill);
        while let Some(Fill { number, buyer, seller, quantity, price }) = early.remove(&next) {
            let price = orders::price(price);
            println!("trade {number}: {buyer} buys {quantity} from {seller} at {price}");
            next += 1;
        }
        early.retain(|number, _| *number >= next);
    }
}

fn read_orders(from_stdin: bool) -> Result<Vec<Order>, Failure> {
    let text = if from_stdin {
        io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?.join("\n")
    } else {
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/orderbook/orders.txt"))?
    };
    let orders = text.lines().zip(1..).map(|(line, number)| orders::parse(line, number));
    Ok(orders.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let orders = read_orders(args.iter().any(|arg| arg == "-"))?;
    let dies_at =
        if args.iter().any(|arg| arg == "--kill") { orders.len() / 2 } else { usize::MAX };

    let key = GroupKey::from_secret("the market of the example");
    let mut matchers = Vec::new();
    for _ in 0..MATCHERS {
        matchers.push(Matcher::start(key).await?);
    }
    let traders = [node().await?, node().await?];
    let books = traders.each_ref().map(|trader| trader.streams().produce::<Order>());
    let fills = traders[0].streams().consume::<Fill>();
    for book in &books {
        book.when().subscribed().minimum_of(MATCHERS).await;
    }

    for (at, order) in orders.into_iter().enumerate() {
        if at == dies_at {
            let leads = matchers.iter().position(|matcher| matcher.group.is_leader()).unwrap_or(0);
            println!("the leading matcher dies");
            matchers.remove(leads).die().await;
        }
        // Traders take turns, and each waits until the market has the order before it goes on.
        let taken = order.clone();
        books[at % 2].send(order).await?;
        while !has(&matchers[0], &taken).await? {
            tokio::task::yield_now().await;
        }
    }

    let mut seen = Vec::new();
    for matcher in &matchers {
        seen.push(matcher.depth().await?);
    }
    let Answer::Depth { bids, asks, orders, fills: trades } = &seen[0] else { unreachable!() };
    print_fills(fills, *trades).await;
    let level = |(price, quantity): &(u64, u64)| format!("{quantity} @ {}", orders::price(*price));
    println!("bids: {}", bids.iter().map(level).collect::<Vec<_>>().join(", "));
    println!("asks: {}", asks.iter().map(level).collect::<Vec<_>>().join(", "));
    assert!(seen.iter().all(|book| *book == seen[0]), "the books differ");
    println!("{orders} orders, {trades} trades, the same on {} matchers", matchers.len());
    Ok(())
}

/// True if the market has taken an order.
async fn has(matcher: &Matcher, order: &Order) -> Result<bool, Failure> {
    let question = Question::Taken(order.trader.clone(), order.number);
    Ok(*matcher.group.query(question, Strong).await?.result() == Answer::Taken(true))
}
