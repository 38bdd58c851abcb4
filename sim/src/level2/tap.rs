//! What checkers and the record see of a node.

use std::fmt;

use mosaik_driver::conformance::Tap;
use mosaik_proto::{
    discovery::Change,
    node::{Action, Event},
    time::Now,
};

use super::kernel::{Kernel, State};
use crate::{net::Process, verdict::Failure};

/// Writes the record of a node and has it checked.
pub(super) struct Recorder {
    pub(super) kernel: Kernel,
    pub(super) process: Process,
}

impl Tap for Recorder {
    fn event(&self, _: Now, event: &Event) {
        self.kernel.with(|state| {
            state.trace.event(state.now, self.process.host, event);
            if let Event::LocalEntry(entry) = event {
                state.trace.bytes(entry.digest().as_bytes());
            }
            state.checkers.versions.event(self.process, event);
            let checked = match event {
                event if state.options.stamped => state.checkers.event(self.process, event),
                Event::LocalEntry(entry) => {
                    state.checkers.versions.signed(entry);
                    Ok(())
                }
                Event::Shutdown(tombstone) => {
                    state.checkers.shutdown(self.process, tombstone);
                    Ok(())
                }
                event => state.checkers.bounds.event(self.process, event),
            };
            check(state, checked);
        });
    }

    fn action(&self, _: Now, action: &Action) {
        self.kernel.with(|state| {
            state.trace.action(state.now, self.process.host, action);
            let (now, process) = (state.now, self.process);
            let checked = match action {
                action if state.options.stamped => state.checkers.action(now, process, action),
                Action::Catalog(Change::Entry { entry, .. }) => {
                    state.checkers.versions.seen(process, entry)
                }
                Action::Catalog(Change::Gone { peer, .. }) => {
                    state.checkers.versions.gone(process, *peer);
                    Ok(())
                }
                action => state.checkers.bounds.action(process, action),
            };
            check(state, checked);
        });
    }
}

fn check(state: &mut State, checked: Result<(), String>) {
    if let Err(what) = checked {
        state.fail(Failure::Safety(what));
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("process", &self.process).finish_non_exhaustive()
    }
}
