//! What clients asked, and what they heard.

use std::collections::BTreeMap;

use mosaik_proto::{ids::GroupId, raft::Lineage, time::Instant};

use crate::linearize::{self, Bounds, Effort, Register, RegisterOp, RegisterRet};

/// Names a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(usize);

#[derive(Debug)]
struct Question {
    group: GroupId,
    key: u8,
    client: u64,
    op: RegisterOp,
    begun: u64,
    answer: Option<(u64, RegisterRet, Lineage)>,
}

/// The questions of all clients.
#[derive(Debug, Default)]
pub struct History {
    questions: Vec<Option<Question>>,
    clients: u64,
}

/// What a judgement cost, and rested on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Questions with an answer.
    pub answered: usize,
    /// Commands of which nobody knows whether they took effect.
    pub unknown: usize,
}

impl History {
    /// A client that nobody else is.
    pub const fn client(&mut self) -> u64 {
        self.clients += 1;
        self.clients
    }

    /// A client asks for something.
    pub fn asked(
        &mut self,
        (group, key): (GroupId, u8),
        client: u64,
        op: RegisterOp,
        at: Instant,
    ) -> Asked {
        let question = Question { group, key, client, op, begun: at.as_nanos(), answer: None };
        self.questions.push(Some(question));
        Asked(self.questions.len() - 1)
    }

    /// It is answered, in a history of the group.
    pub fn answered(&mut self, id: Asked, at: Instant, answer: RegisterRet, of: Lineage) {
        if let Some(question) = &mut self.questions[id.0] {
            question.answer = Some((at.as_nanos(), answer, of));
        }
    }

    /// It certainly had no effect.
    pub fn refused(&mut self, id: Asked) {
        self.questions[id.0] = None;
    }

    /// Were the answers in one lineage those of one copy of the registers, used by one client at a
    /// time? Questions without an answer may have had their effect anywhere.
    ///
    /// # Errors
    /// If not, with the part of the history that shows it; or if it could not be told.
    pub fn judge(&self, group: GroupId, lineage: Lineage) -> Result<Judged, String> {
        let mut keys: BTreeMap<u8, linearize::History<Register>> = BTreeMap::new();
        for question in self.questions.iter().flatten().filter(|one| one.group == group) {
            let ended = question.answer.as_ref();
            if ended.is_some_and(|(_, _, of)| *of != lineage) {
                continue;
            }
            let history = keys.entry(question.key).or_default();
            let id = history.begun(question.client, question.op, question.begun);
            if let Some((at, answer, _)) = ended {
                history.ended(id, *answer, *at);
            }
        }
        let effort = linearize::check_each(&Register, &keys, &Bounds::default());
        let Effort { answered, unknown, .. } = effort.map_err(|complaint| complaint.to_string())?;
        Ok(Judged { answered, unknown })
    }
}
