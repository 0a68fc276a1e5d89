//! Requests for an approval.

use gatewarden_protocol::named;

use super::{Device, Devices, Introduction, MAX_PENDING, NoRoom, NodeRecord, PENDING_LIFE, add_scopes};
use crate::caller::{Role, covers, covers_all};

named! {
    /// Why a device must be approved.
    pub(crate) enum PairingReason {
        NotPaired = "not-paired",
        ScopeUpgrade = "scope-upgrade",
        /// It was let in as an operator and wants to be a node, or the other way round.
        RoleUpgrade = "role-upgrade",
        /// It says to be another platform or device family than when it was approved.
        MetadataUpgrade = "metadata-upgrade",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PairingRequest {
    /// What is approved: another content of the request always has another id, so that nobody approves what he did not see.
    pub id: String,
    /// The device; its proof was good.
    pub device_id: String,
    pub introduction: Introduction,
    pub scopes: Vec<String>,
    pub reason: PairingReason,
    pub remote: String,
    /// First asked, in wall ms.
    pub asked_at_ms: i64,
    /// Last asked, in wall ms.
    pub repeated_at_ms: i64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub device_id: &'a str,
    pub introduction: &'a Introduction,
    pub scopes: &'a [String],
    pub reason: PairingReason,
    pub remote: &'a str,
}

/// A request as it stands after it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub request: PairingRequest,
    /// It is new: those who may approve it are to be told.
    pub is_new: bool,
}

/// Why a request can't be approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unapprovable {
    /// There is none with this id (any more).
    #[error("unknown requestId")]
    Unknown,
    /// Who approves may not give what he doesn't have.
    #[error("missing scope: {0}")]
    MissingScope(String),
    #[error("device limit reached: {} devices with this name are paired already", .0.0)]
    NoRoom(NoRoom),
}

impl Devices {
    /// Whether a device has to ask for what it wants: none where it has been approved for it.
    pub(crate) fn must_ask(&self, id: &str, introduction: &Introduction, wanted: &[String]) -> Option<PairingReason> {
        let Some(device) = self.paired.get(id) else { return Some(PairingReason::NotPaired) };
        if !device.is(introduction.role) {
            return Some(PairingReason::RoleUpgrade);
        }
        let pinned = match (&device.node, introduction.role) {
            (Some(node), Role::Node) => &node.introduction,
            _ => &device.introduction,
        };
        if !introduction.keeps_to(pinned) {
            return Some(PairingReason::MetadataUpgrade);
        }
        (!covers_all(&device.scopes, wanted)).then_some(PairingReason::ScopeUpgrade)
    }

    /// The requests that wait, oldest first.
    pub(crate) fn pending(&self, now_ms: i64) -> impl Iterator<Item = &PairingRequest> {
        self.pending.iter().filter(move |request| is_alive(request, now_ms))
    }

    /// A device asks, perhaps again. A device has one request a role at a time.
    pub(crate) fn ask(&mut self, asking: Asking<'_>, now_ms: i64, new_id: impl FnOnce() -> String) -> Asked {
        self.pending.retain(|request| is_alive(request, now_ms));
        let same = |request: &&mut PairingRequest| {
            request.device_id == asking.device_id
                && request.introduction == *asking.introduction
                && request.scopes == asking.scopes
                && request.reason == asking.reason
                && request.remote == asking.remote
        };
        if let Some(request) = self.pending.iter_mut().find(same) {
            request.repeated_at_ms = now_ms;
            return Asked { request: request.clone(), is_new: false };
        }
        let role = asking.introduction.role;
        self.pending.retain(|request| request.device_id != asking.device_id || request.introduction.role != role);
        if self.pending.len() >= MAX_PENDING {
            self.pending.remove(0);
        }
        let request = PairingRequest {
            id: new_id(),
            device_id: asking.device_id.to_owned(),
            introduction: asking.introduction.clone(),
            scopes: asking.scopes.to_vec(),
            reason: asking.reason,
            remote: asking.remote.to_owned(),
            asked_at_ms: now_ms,
            repeated_at_ms: now_ms,
        };
        self.pending.push(request.clone());
        Asked { request, is_new: true }
    }

    /// Approves a request on behalf of somebody with these scopes. The device keeps what it was approved for before.
    pub(crate) fn approve(
        &mut self,
        request_id: &str,
        approver: &[String],
        now_ms: i64,
    ) -> Result<Device, Unapprovable> {
        let request = self.waiting(request_id, now_ms).ok_or(Unapprovable::Unknown)?.clone();
        if let Some(scope) = request.scopes.iter().find(|scope| !covers(approver, scope)) {
            return Err(Unapprovable::MissingScope(scope.clone()));
        }
        let role = request.introduction.role;
        let known = self.paired.get(&request.device_id);
        // Of a device that is both, the operator counts.
        let is_told_by = |device: &Device| request.introduction.role == Role::Operator || !device.is(Role::Operator);
        if known.is_some_and(|device| is_told_by(device) && !device.introduction.same_user(&request.introduction)) {
            self.room_of_user(&request.introduction).map_err(Unapprovable::NoRoom)?;
        }
        if let Some(device) = self.paired.get_mut(&request.device_id) {
            if is_told_by(device) {
                device.introduction = request.introduction.clone();
            }
            if request.introduction.role == Role::Node {
                match &mut device.node {
                    Some(node) => node.introduction = request.introduction,
                    None => device.node = Some(Box::new(NodeRecord::new(request.introduction))),
                }
            }
            add_scopes(&mut device.scopes, &request.scopes);
            device.silent = false;
            device.approved_at_ms = now_ms;
        } else {
            self.room_for(&request.introduction).map_err(Unapprovable::NoRoom)?;
            self.insert(&request.device_id, request.introduction, request.scopes, false, now_ms);
        }
        // What it asks for in its other role is another request.
        self.pending.retain(|other| other.device_id != request.device_id || other.introduction.role != role);
        self.paired.get(&request.device_id).cloned().ok_or(Unapprovable::Unknown)
    }

    pub(crate) fn reject(&mut self, request_id: &str, now_ms: i64) -> Option<PairingRequest> {
        let request = self.waiting(request_id, now_ms)?.clone();
        self.pending.retain(|other| other.id != request_id);
        Some(request)
    }

    fn waiting(&self, request_id: &str, now_ms: i64) -> Option<&PairingRequest> {
        self.pending(now_ms).find(|request| request.id == request_id)
    }
}

fn is_alive(request: &PairingRequest, now_ms: i64) -> bool {
    let life = i64::try_from(PENDING_LIFE.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_sub(request.repeated_at_ms) < life
}
