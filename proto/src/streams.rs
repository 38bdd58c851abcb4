//! Typed data from producers to consumers, with credit from application to application.

mod condition;
pub mod item;
mod vocabulary;

pub use self::{
    condition::Condition,
    vocabulary::{
        Action, Change, ConsumerConfig, Counter, Criteria, Delivery, Env, Event, Owner, Predicate,
        ProducerConfig, State,
    },
};
