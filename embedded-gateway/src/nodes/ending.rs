//! How commands of nodes end: who waits is answered, and the node is told where nobody waits any more.

use serde_json::{Value, json};

use super::invokes::{Ended, error_of_node};
use crate::call::CallError;
use crate::caller::ConnectionId;
use crate::effect::LogLevel;
use crate::machine::GatewayMachine;
use crate::turn::Turn;

impl GatewayMachine {
    /// Answers those whose node has gone, and ends what takes too long.
    pub(crate) fn attend_nodes(&mut self, turn: &mut Turn<'_>) {
        for (ended, error) in self.nodes.invokes.take_lost() {
            answer(&ended, &Err(error), turn);
        }
        for (id, connection) in self.nodes.invokes.overdue(turn.now.at) {
            self.give_up(&id, connection, "TIMEOUT", "node invoke timed out", turn);
        }
    }

    /// The gateway stops: nobody will hear of what nodes are at.
    pub(crate) fn stop_nodes(&mut self, turn: &mut Turn<'_>) {
        for (id, connection) in self.nodes.invokes.all() {
            self.give_up(&id, connection, "ABORTED", "the gateway is stopping", turn);
        }
    }

    fn give_up(&mut self, id: &str, connection: ConnectionId, code: &str, message: &str, turn: &mut Turn<'_>) {
        let outcome = Err(error_of_node(Some(code), Some(message)));
        let Some(ended) = self.end_invoke(id, connection, &outcome, turn) else { return };
        turn.tell(vec![connection], "node.invoke.cancel", json!({"invokeId": id, "nodeId": ended.node}));
    }

    /// A command has ended. None where it isn't under way (any more), or not by this connection.
    pub(crate) fn end_invoke(
        &mut self,
        id: &str,
        connection: ConnectionId,
        outcome: &Result<Value, CallError>,
        turn: &mut Turn<'_>,
    ) -> Option<Ended> {
        let ended = self.nodes.invokes.end(id, connection, outcome, turn.now.at)?;
        answer(&ended, outcome, turn);
        Some(ended)
    }
}

fn answer(ended: &Ended, outcome: &Result<Value, CallError>, turn: &mut Turn<'_>) {
    let (level, how) = match outcome {
        Ok(_) => (LogLevel::Debug, "was carried out".to_owned()),
        Err(error) => (LogLevel::Info, format!("failed: {}", error.message)),
    };
    let extra = json!({"node_id": ended.node, "command": ended.command, "invoke_id": ended.id});
    turn.log_with(level, "nodes", None, format!("{} {how}", ended.command), extra);
    for to in &ended.waiting {
        turn.respond(to, outcome.clone());
    }
}
