//! The loop's part in groups: inputs from their cells, outputs to them.

use std::sync::Arc;

use mosaik_proto::{
    groups::{Counter, Input, Output},
    ids::GroupId,
    limits::BATCH_BYTES,
    node,
    time::Instant,
};

use super::Task;
use crate::{
    groups::{calls::Again, cell::GroupCell},
    metrics::groups::group_of,
    runtime::Runtime,
    transport::Transport,
};

/// Inputs taken from one group per turn.
const INPUTS: usize = 64;

impl<R: Runtime, T: Transport> Task<R, T> {
    pub(super) fn on_group(&mut self, cell: &Arc<GroupCell>) {
        for _ in 0..INPUTS {
            let known = self.groups.get(&cell.id).is_some_and(|known| Arc::ptr_eq(known, cell));
            if !known && !self.open_group(cell) {
                return;
            }
            let Some(input) = cell.take(self.now.mono) else {
                match cell.calls.again() {
                    Some(Again::NextTurn) => self.deferred.push(Arc::clone(cell)),
                    Some(Again::At(moment)) => self.hold(cell.id, moment),
                    None => {}
                }
                return;
            };
            // A batch that is not full has emptied the lane; whoever fills it again announces it.
            let full = BATCH_BYTES as usize;
            let last = matches!(&input, Input::Execute { data, .. } if data.len() < full);
            self.step(node::Event::Group { group: cell.id, input });
            if last && !cell.has_mail() {
                return;
            }
        }
        cell.announce();
    }

    /// Looks at a group again at that moment, if not before.
    fn hold(&mut self, group: GroupId, moment: Instant) {
        self.held.insert(group);
        self.held_until = self.held_until.into_iter().chain([moment]).min();
    }

    /// The moment has come. Groups that were looked at before will have nothing new.
    pub(super) fn look_at_held(&mut self) {
        self.held_until = None;
        for group in std::mem::take(&mut self.held) {
            if let Some(cell) = self.groups.get(&group) {
                cell.announce();
            }
        }
    }

    /// Takes part in a group, unless this node is still leaving it, or has left.
    fn open_group(&mut self, cell: &Arc<GroupCell>) -> bool {
        if self.stopped || cell.is_over() {
            cell.shut();
            return false;
        }
        let leaving = self.leaving_groups.get(&cell.id).is_some_and(|store| store.is_open());
        if leaving || self.groups.contains_key(&cell.id) {
            // Announced again when the other is gone.
            cell.defer();
            return false;
        }
        // News of one that was left may still be in the inbox: it does not begin again.
        let Some(executor) = cell.executor() else { return false };
        self.groups.insert(cell.id, Arc::clone(cell));
        self.runtime.spawn(executor);
        let join = cell.open();
        self.step(node::Event::Group { group: cell.id, input: join });
        true
    }

    pub(super) fn group_output(&mut self, group: GroupId, output: Output) {
        let Some(cell) = self.groups.get(&group) else { return };
        if !cell.output(output) {
            return;
        }
        // The group was left. Who joins it again waits until the store is closed.
        let Some(cell) = self.groups.remove(&group) else { return };
        self.shared.groups.left(&cell, &self.shared);
        self.leaving_groups.retain(|_, store| store.is_open());
        self.leaving_groups.insert(group, Arc::clone(&cell.store));
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            cell.store.closed().await;
            if let Some(next) = shared.groups.find(&group) {
                next.announce();
            }
        });
    }

    /// The node is over: every group's handles resolve. The future does when all stores are closed.
    pub(super) fn stop_groups(&mut self) -> impl Future<Output = ()> + Send + 'static + use<R, T> {
        let mut stores: Vec<_> = std::mem::take(&mut self.leaving_groups).into_values().collect();
        for cell in std::mem::take(&mut self.groups).into_values() {
            cell.shut();
            stores.push(Arc::clone(&cell.store));
        }
        async move {
            for store in stores {
                store.closed().await;
            }
        }
    }

    pub(super) fn count_groups(&self, counter: Counter) {
        if let Some(cell) = self.groups.get(&group_of(&counter)) {
            cell.metrics.count(counter);
        }
    }
}
