//! Orders as people write them, one per line: `alice buy 100 @ 10.25`.

use crate::book::{Order, Side};

/// Reads a line; `Ok(None)` if there is no order in it. `number` becomes that of the order.
pub(crate) fn parse(line: &str, number: u64) -> Result<Option<Order>, String> {
    let line = line.split('#').next().unwrap_or_default().trim();
    if line.is_empty() {
        return Ok(None);
    }
    let words: Vec<_> = line.split_whitespace().collect();
    let [trader, side, quantity, "@", price] = words[..] else {
        return Err(format!("{line:?} is not of the form `alice buy 100 @ 10.25`"));
    };
    let side = match side {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        other => return Err(format!("{other:?} is neither buy nor sell")),
    };
    let quantity = quantity.parse().map_err(|_| format!("{quantity:?} is no quantity"))?;
    let price = cents(price).ok_or_else(|| format!("{price:?} is no price"))?;
    Ok(Some(Order { trader: trader.to_owned(), number, side, quantity, price }))
}

fn cents(price: &str) -> Option<u64> {
    let (whole, cents) = price.split_once('.').unwrap_or((price, "00"));
    let cents = match cents.len() {
        1 => cents.parse::<u64>().ok()? * 10,
        2 => cents.parse().ok()?,
        _ => return None,
    };
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(cents)
}

/// Cents as people write them.
pub(crate) fn price(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
