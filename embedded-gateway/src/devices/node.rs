//! What a device is as a node: what an operator has approved that it carries out, and what waits for an approval.
//!
//! As real releases: pairing lets a node in, and no more; what it offers is approved on its own, and again when it offers more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Device, Devices, Introduction};
use crate::caller::Role;

/// What a node offers, or may carry out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Surface {
    /// Words for what it can do at all, such as `camera`.
    pub caps: BTreeSet<String>,
    /// The commands that can be invoked.
    pub commands: BTreeSet<String>,
    /// What its system permits it.
    pub permissions: BTreeMap<String, bool>,
}

impl Surface {
    pub(crate) fn new(caps: Vec<String>, commands: Vec<String>, permissions: BTreeMap<String, bool>) -> Self {
        let set = |texts: Vec<String>| {
            texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).collect()
        };
        Self { caps: set(caps), commands: set(commands), permissions }
    }

    /// Whether there is something in it that `approved` lacks.
    fn exceeds(&self, approved: &Self) -> bool {
        let permits = |name: &str| approved.permissions.get(name) == Some(&true);
        !self.caps.is_subset(&approved.caps)
            || !self.commands.is_subset(&approved.commands)
            || self.permissions.iter().any(|(name, permitted)| *permitted && !permits(name))
    }

    /// As much of it as `approved` has, too.
    pub(crate) fn within(&self, approved: &Self) -> Self {
        let permission = |(name, permitted): (&String, &bool)| match approved.permissions.get(name) {
            _ if !permitted => Some((name.clone(), false)),
            approved => approved.map(|approved| (name.clone(), *approved)),
        };
        Self {
            caps: self.caps.intersection(&approved.caps).cloned().collect(),
            commands: self.commands.intersection(&approved.commands).cloned().collect(),
            permissions: self.permissions.iter().filter_map(permission).collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeRecord {
    /// What it said to be when it was let in as a node; the device may be an operator's with another one.
    pub introduction: Introduction,
    /// The name that an operator gave it.
    pub name: Option<String>,
    pub approved: Option<ApprovedSurface>,
    pub pending: Option<PendingSurface>,
    /// Of its last connection.
    #[serde(default)]
    pub last: LastSeen,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApprovedSurface {
    pub surface: Surface,
    /// First approval, in wall ms.
    pub created_at_ms: i64,
    /// Last approval, in wall ms.
    pub approved_at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PendingSurface {
    /// What is approved: another surface has another id, so that nobody approves what he did not see.
    pub request_id: String,
    pub surface: Surface,
    /// In wall ms.
    pub asked_at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LastSeen {
    pub version: String,
    pub model: Option<String>,
    pub remote: String,
    /// In wall ms; as far as it was written.
    pub connected_at_ms: i64,
    /// In wall ms; as far as it was written.
    pub disconnected_at_ms: Option<i64>,
    /// When it last said that it is alive, in wall ms, and why.
    pub alive_at_ms: Option<i64>,
    pub alive_reason: Option<String>,
}

impl NodeRecord {
    pub(super) fn new(introduction: Introduction) -> Self {
        Self { introduction, name: None, approved: None, pending: None, last: LastSeen::default() }
    }

    pub(crate) fn shown_name(&self) -> Option<&str> {
        self.name.as_deref().or(self.introduction.display_name.as_deref())
    }

    /// As much of what it offers as is approved.
    pub(crate) fn approved_of(&self, offered: &Surface) -> Surface {
        self.approved.as_ref().map(|approved| offered.within(&approved.surface)).unwrap_or_default()
    }
}

/// What an offer of a node led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Offered {
    /// A request that waits from now on.
    pub asked: Option<String>,
    /// A request that waits no more: the node offers something else now.
    pub withdrawn: Option<String>,
}

/// Why a node's surface can't be approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unsurfaced {
    /// Nothing of this id waits (any more).
    Unknown,
    /// Who approves needs this scope for these commands.
    MissingScope(&'static str),
}

impl Devices {
    pub(crate) fn node(&self, id: &str) -> Option<&NodeRecord> {
        self.get(id)?.node.as_deref()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Device, &NodeRecord)> {
        self.iter().filter_map(|device| Some((device, device.node.as_deref()?)))
    }

    fn node_mut(&mut self, id: &str) -> Option<&mut NodeRecord> {
        self.paired.get_mut(id)?.node.as_deref_mut()
    }

    /// A node is there and offers this. Where that is more than was approved, it waits for an approval.
    pub(crate) fn offer(
        &mut self,
        id: &str,
        offered: &Surface,
        now_ms: i64,
        new_id: impl FnOnce() -> String,
    ) -> Offered {
        let Some(node) = self.node_mut(id) else { return Offered::default() };
        // Who offers nothing at all has that approved, too: an operator is to know of each node once.
        let must_ask = node.approved.as_ref().is_none_or(|approved| offered.exceeds(&approved.surface));
        if must_ask && node.pending.as_ref().is_some_and(|pending| pending.surface == *offered) {
            return Offered::default();
        }
        let withdrawn = node.pending.take().map(|pending| pending.request_id);
        if !must_ask {
            return Offered { asked: None, withdrawn };
        }
        let request_id = new_id();
        let asked = Some(request_id.clone());
        node.pending = Some(PendingSurface { request_id, surface: offered.clone(), asked_at_ms: now_ms });
        Offered { asked, withdrawn }
    }

    pub(crate) fn surface_request(&self, request_id: &str) -> Option<(&Device, &NodeRecord, &PendingSurface)> {
        self.nodes().find_map(|(device, node)| {
            let pending = node.pending.as_ref().filter(|pending| pending.request_id == request_id)?;
            Some((device, node, pending))
        })
    }

    /// Approves what a node offers, on behalf of somebody of whom `holds` says which scopes he has. The node's id.
    pub(crate) fn approve_surface(
        &mut self,
        request_id: &str,
        needed: impl FnOnce(&Surface) -> Option<&'static str>,
        now_ms: i64,
    ) -> Result<String, Unsurfaced> {
        let (device, _, pending) = self.surface_request(request_id).ok_or(Unsurfaced::Unknown)?;
        if let Some(scope) = needed(&pending.surface) {
            return Err(Unsurfaced::MissingScope(scope));
        }
        let id = device.id.clone();
        let node = self.node_mut(&id).ok_or(Unsurfaced::Unknown)?;
        let pending = node.pending.take().ok_or(Unsurfaced::Unknown)?;
        let created_at_ms = node.approved.as_ref().map_or(now_ms, |approved| approved.created_at_ms);
        node.approved = Some(ApprovedSurface { surface: pending.surface, created_at_ms, approved_at_ms: now_ms });
        Ok(id)
    }

    /// Leaves what a node offers unapproved. The node's id.
    pub(crate) fn reject_surface(&mut self, request_id: &str) -> Option<String> {
        let id = self.surface_request(request_id)?.0.id.clone();
        self.node_mut(&id)?.pending = None;
        Some(id)
    }

    /// False where there is no such node.
    pub(crate) fn rename_node(&mut self, id: &str, name: &str) -> bool {
        self.node_mut(id).map(|node| node.name = Some(name.to_owned())).is_some()
    }

    /// Notes something of a node's connection. (Not written by itself.)
    pub(crate) fn note_node(&mut self, id: &str, note: impl FnOnce(&mut LastSeen)) {
        if let Some(node) = self.node_mut(id) {
            note(&mut node.last);
        }
    }

    /// The device is no node any more; it is gone where it was nothing else. False where it was none.
    pub(crate) fn remove_node(&mut self, id: &str) -> bool {
        let Some(device) = self.paired.get_mut(id).filter(|device| device.node.is_some()) else { return false };
        if device.is(Role::Operator) {
            device.node = None;
            device.tokens.retain(|token| token.role != Role::Node);
        } else {
            self.paired.remove(id);
        }
        self.pending.retain(|request| request.device_id != id || request.introduction.role != Role::Node);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(commands: &[&str], permissions: &[(&str, bool)]) -> Surface {
        Surface::new(
            Vec::new(),
            commands.iter().map(|command| (*command).to_owned()).collect(),
            permissions.iter().map(|(name, permitted)| ((*name).to_owned(), *permitted)).collect(),
        )
    }

    #[test]
    fn who_offers_less_than_was_approved_asks_nobody_and_who_offers_more_does() {
        let approved = surface(&["a", "b"], &[("camera", true), ("screen", false)]);
        for (offered, exceeds) in [
            (surface(&[], &[]), false),
            (surface(&["a"], &[("camera", false)]), false),
            (surface(&["a", "b"], &[("camera", true)]), false),
            (surface(&["a", "c"], &[]), true),
            (surface(&["a"], &[("screen", true)]), true),
            (surface(&["a"], &[("new", true)]), true),
            (surface(&["a"], &[("new", false)]), false),
        ] {
            assert_eq!(offered.exceeds(&approved), exceeds, "{offered:?}");
        }
    }

    #[test]
    fn a_node_has_what_it_offers_and_was_approved() {
        let approved = surface(&["a", "b"], &[("camera", true), ("screen", false)]);
        let offered = surface(&[" b ", "c", ""], &[("camera", false), ("screen", true), ("new", true)]);
        assert_eq!(offered.within(&approved), surface(&["b"], &[("camera", false), ("screen", false)]));
    }
}
