//! The main agent of a gateway, found or made there with its files in place. Nothing is recorded here: that is the last step of a
//! creation, and of a sync.

use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_actors::store::records::MainAgent;
use gatewarden_protocol::{AgentRow, GatewayAddress};

use crate::http::front::Front;
use crate::provisioning::main_agent::{config_of, provision};
use crate::provisioning::registry_caller::RegistryCaller;
use crate::provisioning::{GatewayFacts, Writing};

/// The main agent as the gateway has it now. Files that somebody else has written stay as they are.
///
/// # Errors
/// As [`provision`].
pub async fn provision_main_agent(front: &Front, record: &GatewayRecord) -> Result<MainAgent, Failure> {
    let gateway = caller(front, record);
    let writing = Writing { templates: &front.settings.templates, overwrite: false };
    let recorded = record.gateway_agent_id.as_deref();
    let done = provision(&gateway, &facts_of(front, record), recorded, writing).await?;
    tracing::info!(
        gateway.id = record.id.0,
        gateway.name = record.name,
        agent.id = done.found.agent.id,
        created = done.found.created,
        files.written = done.files.written.len(),
        files.kept = done.files.kept.len(),
        files.skipped = done.files.skipped.len(),
        "main agent provisioned"
    );
    Ok(to_record(&done.found.agent))
}

/// The way to a gateway for everything that is done with its agents.
pub fn caller<'a>(front: &'a Front, record: &GatewayRecord) -> RegistryCaller<'a> {
    let settings = &front.settings;
    RegistryCaller::new(&front.app.registry.call, record.id, settings.gateway_timeout, settings.restart_patience)
}

/// What templates are filled with.
pub fn facts_of(front: &Front, record: &GatewayRecord) -> GatewayFacts {
    let address = GatewayAddress::parse(&record.host, Some(record.port));
    GatewayFacts {
        id: record.uuid.clone(),
        name: record.name.clone(),
        url: address.map(|parsed| parsed.address.dial_url()).unwrap_or_default(),
        organization_id: front.app.store.organization_id().to_owned(),
        workspace_root: record.workspace_root.clone(),
    }
}

/// What is recorded of a main agent.
pub fn to_record(agent: &AgentRow) -> MainAgent {
    MainAgent { agent_id: agent.id.clone(), role: agent.role.clone(), config: config_of(agent) }
}
