//! The market: a book with price-time priority, as a state machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mosaik::{
    UniqueId,
    groups::{ApplyContext, LogReplaySync, StateMachine},
    unique_id,
};
use serde::{Deserialize, Serialize};

/// Which way an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Buy,
    Sell,
}

/// What a trader wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Who.
    pub(crate) trader: String,
    /// Rises with every order of a trader: the book takes each number once.
    pub(crate) number: u64,
    pub(crate) side: Side,
    pub(crate) quantity: u64,
    /// The limit, in cents.
    pub(crate) price: u64,
}

/// A trade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fill {
    /// The first trade of the market is 1.
    pub(crate) number: u64,
    pub(crate) buyer: String,
    pub(crate) seller: String,
    pub(crate) quantity: u64,
    /// That of the order which was there first.
    pub(crate) price: u64,
}

/// What can be asked of the book.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// The trades from this number on.
    FillsFrom(u64),
    /// Was this order of this trader taken?
    Taken(String, u64),
    /// Everything at rest, and who has been heard.
    Depth,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Fills(Vec<Fill>),
    Taken(bool),
    Depth {
        /// Price and quantity of all that buy, best first.
        bids: Vec<(u64, u64)>,
        /// The same of all that sell.
        asks: Vec<(u64, u64)>,
        /// Orders taken.
        orders: u64,
        /// Trades made.
        fills: u64,
    },
}

/// An order, or what is left of one, at rest.
#[derive(Debug)]
struct Rest {
    trader: String,
    quantity: u64,
}

/// Orders at rest by price, each price in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Book {
    bids: BTreeMap<u64, VecDeque<Rest>>,
    asks: BTreeMap<u64, VecDeque<Rest>>,
    fills: Vec<Fill>,
    taken: BTreeSet<(String, u64)>,
}

impl Book {
    /// Matches an order with what is there, and puts what is left of it to rest.
    fn place(&mut self, order: Order) {
        if order.quantity == 0 || !self.taken.insert((order.trader.clone(), order.number)) {
            return;
        }
        let mut left = order.quantity;
        while left > 0
            && let Some((price, rest)) = self.best_against(&order)
        {
            let quantity = left.min(rest.quantity);
            let other = rest.trader.clone();
            left -= quantity;
            rest.quantity -= quantity;
            let emptied = rest.quantity == 0;
            self.trade(&order, other, quantity, price);
            if emptied {
                self.remove_best(order.side, price);
            }
        }
        if left > 0 {
            let own = if order.side == Side::Buy { &mut self.bids } else { &mut self.asks };
            let rest = Rest { trader: order.trader, quantity: left };
            own.entry(order.price).or_default().push_back(rest);
        }
    }

    /// The best offer of the other side, if the order's limit allows it.
    fn best_against(&mut self, order: &Order) -> Option<(u64, &mut Rest)> {
        let level = match order.side {
            Side::Buy => self.asks.first_entry().filter(|level| *level.key() <= order.price),
            Side::Sell => self.bids.last_entry().filter(|level| *level.key() >= order.price),
        }?;
        let price = *level.key();
        level.into_mut().front_mut().map(|rest| (price, rest))
    }

    fn remove_best(&mut self, side: Side, price: u64) {
        let other = if side == Side::Buy { &mut self.asks } else { &mut self.bids };
        if let Some(level) = other.get_mut(&price) {
            level.pop_front();
            if level.is_empty() {
                other.remove(&price);
            }
        }
    }

    fn trade(&mut self, order: &Order, other: String, quantity: u64, price: u64) {
        let number = self.fills.len() as u64 + 1;
        let trader = order.trader.clone();
        let (buyer, seller) =
            if order.side == Side::Buy { (trader, other) } else { (other, trader) };
        self.fills.push(Fill { number, buyer, seller, quantity, price });
    }

    fn depth(&self) -> Answer {
        let sum = |(price, level): (&u64, &VecDeque<Rest>)| {
            (*price, level.iter().map(|rest| rest.quantity).sum())
        };
        Answer::Depth {
            bids: self.bids.iter().rev().map(sum).collect(),
            asks: self.asks.iter().map(sum).collect(),
            orders: self.taken.len() as u64,
            fills: self.fills.len() as u64,
        }
    }
}

impl StateMachine for Book {
    type Command = Order;
    type Query = Question;
    type QueryResult = Answer;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        unique_id!("mosaik.example.orderbook.v1")
    }

    fn apply(&mut self, order: Order, _: &dyn ApplyContext) {
        self.place(order);
    }

    fn query(&self, question: Question) -> Answer {
        match question {
            Question::FillsFrom(number) => {
                let from = (number.max(1) - 1) as usize;
                Answer::Fills(self.fills.get(from..).unwrap_or_default().to_vec())
            }
            Question::Taken(trader, number) => {
                Answer::Taken(self.taken.contains(&(trader, number)))
            }
            Question::Depth => self.depth(),
        }
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders;

    /// The trades that these lines make: quantity, price, seller.
    fn trades(lines: &[&str]) -> (Book, Vec<(u64, u64, String)>) {
        let mut book = Book::default();
        for (line, number) in lines.iter().zip(1..) {
            book.place(orders::parse(line, number).unwrap().unwrap());
        }
        let trades = book.fills.iter();
        let trades = trades.map(|fill| (fill.quantity, fill.price, fill.seller.clone())).collect();
        (book, trades)
    }

    #[test]
    fn the_better_price_goes_first_then_who_came_first() {
        let lines = ["a sell 5 @ 10.1", "b sell 5 @ 10.1", "c sell 5 @ 10.0", "d buy 12 @ 11"];
        let (book, trades) = trades(&lines);
        let expected = [(5, 1000, "c"), (5, 1010, "a"), (2, 1010, "b")];
        assert_eq!(trades, expected.map(|(quantity, price, who)| (quantity, price, who.into())));
        let (bids, asks) = (vec![], vec![(1010, 3)]);
        assert_eq!(book.depth(), Answer::Depth { bids, asks, orders: 4, fills: 3 });
    }

    #[test]
    fn a_limit_is_a_limit_and_what_is_left_rests() {
        let (book, trades) = trades(&["a buy 5 @ 9.99", "b sell 7 @ 10", "c buy 9 @ 10.00"]);
        assert_eq!(trades, [(7, 1000, "b".into())]);
        let bids = vec![(1000, 2), (999, 5)];
        assert_eq!(book.depth(), Answer::Depth { bids, asks: vec![], orders: 3, fills: 1 });
    }

    #[test]
    fn an_order_that_is_handed_in_twice_counts_once() {
        let mut book = Book::default();
        let order = orders::parse("a buy 5 @ 1", 1).unwrap().unwrap();
        book.place(order.clone());
        book.place(order);
        let bids = vec![(100, 5)];
        assert_eq!(book.depth(), Answer::Depth { bids, asks: vec![], orders: 1, fills: 0 });
    }

    #[test]
    fn what_is_no_order_is_said_so() {
        assert_eq!(orders::parse("  # nothing", 1), Ok(None));
        for line in ["a buy 5", "a take 5 @ 1", "a buy x @ 1", "a buy 5 @ 1.234"] {
            assert!(orders::parse(line, 1).is_err(), "{line}");
        }
    }
}
