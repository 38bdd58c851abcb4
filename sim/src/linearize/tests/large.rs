//! Histories as long as a soak run makes them.

use super::*;

/// What clients of one object do that works as it should: each asks again when it was answered, and
/// gives up now and then.
struct Crowd {
    rng: Rng,
    clients: u64,
    operations: usize,
    /// One in so many is given up.
    unknown: u64,
}

impl Crowd {
    fn run<M: Model>(
        &mut self,
        model: &M,
        op: impl Fn(&mut Rng, u64) -> M::Op,
        spoil: impl Fn(usize, M::Ret) -> M::Ret,
    ) -> History<M> {
        let rng = &mut self.rng;
        // By the moment of the effect: who asked, when, for what.
        let mut queue: BTreeMap<(u64, u64), (u64, M::Op)> = BTreeMap::new();
        for client in 0..self.clients {
            queue.insert((rng.below(1_000), client), (0, op(rng, client)));
        }
        let (mut state, mut history) = (model.start(), History::default());
        let mut number = 0;
        while let Some(((at, client), (begun, what))) = queue.pop_first() {
            number += 1;
            let (after, ret) = model.step(&state, &what);
            let id = history.begun(client, what, begun);
            let ended = at + rng.below(500);
            if rng.below(self.unknown) > 0 {
                state = after;
                history.ended(id, spoil(number, ret), ended);
            } else if rng.below(2) == 0 {
                state = after;
            }
            if number + (self.clients as usize) <= self.operations {
                let begins = ended + 1 + rng.below(200);
                queue.insert((begins + rng.below(1_000), client), (begins, op(rng, number as u64)));
            }
        }
        history
    }
}

fn registers(rng: &mut Rng, number: u64) -> RegisterOp {
    match rng.below(4) {
        0 => RegisterOp::Put(number),
        1 => RegisterOp::Cas(Some(rng.below(number + 1)), number),
        _ => RegisterOp::Get,
    }
}

#[test]
fn a_hundred_thousand_operations_on_a_hundred_keys() {
    let mut keys = BTreeMap::new();
    for key in 0..100 {
        let rng = rng(&format!("key {key}"));
        let mut crowd = Crowd { rng, clients: 20, operations: 1_000, unknown: 40 };
        keys.insert(key, crowd.run(&Register, registers, |_, ret| ret));
    }
    let effort = check_each(&Register, &keys, &Bounds::default()).unwrap();
    assert_eq!(effort.answered + effort.unknown, 100_000);
    assert!(effort.unknown > 1_000, "{effort:?}");
}

#[test]
fn one_wrong_answer_among_many_is_found() {
    let rng = rng("wrong");
    let mut crowd = Crowd { rng, clients: 20, operations: 1_000, unknown: 40 };
    // A value that nobody put.
    let spoil = |number, ret| match ret {
        RegisterRet::Value(_) if number == 801 || number == 802 || number == 803 => {
            RegisterRet::Value(Some(1_000_000))
        }
        ret => ret,
    };
    let history = crowd.run(&Register, registers, spoil);
    let found = violation(&Register, &history);
    assert_eq!(found.answer, "Get -> Value(Some(1000000))");
}

#[test]
fn twenty_thousand_operations_of_two_hundred_clients_on_one_counter() {
    let rng = rng("counter");
    let mut crowd = Crowd { rng, clients: 200, operations: 20_000, unknown: 50 };
    let op = |rng: &mut Rng, _| match rng.below(3) {
        0 => CounterOp::Read,
        _ => CounterOp::Add(1),
    };
    let history = crowd.run(&Counter, op, |_, ret| ret);
    let effort = check(&Counter, &history, &Bounds::default()).unwrap();
    assert!(effort.unknown > 200, "{effort:?}");
}
