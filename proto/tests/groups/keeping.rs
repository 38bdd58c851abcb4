//! Snapshots between machines and disks.

use mosaik_proto::groups::Input;

use crate::{cluster::Cluster, machine::Frozen};

impl Cluster {
    /// A snapshot is whole: with a disk it counts when that has it.
    pub(crate) fn on_whole(&mut self, at: usize, frozen: Frozen, install: bool) {
        if self.hosts[at].config.durable {
            let after = self.between(self.disk_delay);
            return self.hosts[at].disk.stage(self.now + after, frozen, install);
        }
        let last = frozen.snapshot.last.index;
        let input = if install { Input::Installed(last) } else { frozen.said() };
        self.keep(at, &input, frozen);
        self.input(at, input);
    }

    /// The disk says something.
    pub(crate) fn on_disk(&mut self, at: usize, input: Input) {
        let disk = &self.hosts[at].disk;
        let of = match input {
            Input::Loaded(_) => disk.snapshot(),
            _ => disk.staged(),
        };
        if let Some(frozen) = of.cloned() {
            self.keep(at, &input, frozen);
        }
        self.input(at, input);
    }

    fn keep(&mut self, at: usize, said: &Input, frozen: Frozen) {
        let machine = &mut self.hosts[at].machine;
        match said {
            Input::Loaded(_) | Input::Installed(_) => machine.restore(&frozen),
            Input::Frozen { .. } => {}
            _ => return,
        }
        machine.frozen = Some(frozen);
    }
}
