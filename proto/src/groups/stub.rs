//! Takes the place of the registry until that is here.

use super::{Action, Env, Event};

/// Takes the place of the registry until that is here.
#[derive(Debug)]
pub struct Groups;
impl Groups {
    /// Takes the place of the registry until that is here.
    #[must_use]
    pub fn new(_me: crate::PeerId, _rng: crate::rng::Rng) -> Self {
        Self
    }
}
impl crate::core::Core for Groups {
    type Env<'a> = Env<'a>;
    type Event = Event;
    type Action = Action;
    fn handle(&mut self, _env: Env<'_>, event: Event, out: &mut crate::core::Outbox<Action>) {
        if matches!(event, Event::Shutdown) {
            out.push(Action::Left);
        }
    }
    fn deadline(&self) -> Option<crate::time::Instant> {
        None
    }
}
