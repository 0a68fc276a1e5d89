//! The whole URL table. A handler gets in only together with its description, so the OpenAPI document holds every route;
//! the exceptions are the document's own pages.

use actix_web::{HttpRequest, HttpResponse, web};

use super::context::App;
use super::events::socket;
use super::gateways::{check, discover, health, latency, logs};
use super::organization::{gateways as organization, sessions as organization_sessions, status, templates};
use super::route_table::Routes;
use super::{
    access, agents, cluster, daemon, dashboard, devices, direct, events, fleet, gateways, mcp, openapi, sessions, spawn,
};

/// Every route of the API. Order matters: a fixed path comes before one with a parameter.
#[rustfmt::skip]
pub(crate) fn api(routes: &mut impl Routes) {
    routes
        // The most asked one first.
        .service(gateways::list_gateways)                   // GET    /api/gateways
        .service(fleet::read_fleet)                         // GET    /api/fleet
        .service(gateways::create_gateway)                  // POST   /api/gateways
        .service(gateways::update_gateway)                  // PUT    /api/gateways
        .service(gateways::delete_gateway)                  // DELETE /api/gateways
        .service(check::check_way)                          // POST   /api/gateways/check
        .service(discover::discover_gateways)               // POST   /api/gateways/discover
        .service(health::check_gateways)                    // POST   /api/gateways/health
        .service(health::read_health_history)               // GET    /api/gateways/health/history
        .service(latency::read_latencies)                   // GET    /api/gateways/latency
        .service(latency::read_latency)                     // GET    /api/gateways/{id}/latency
        .service(gateways::read_connection_details)         // POST   /api/gateways/connect
        .service(gateways::reconnect_gateway)               // POST   /api/gateways/{id}/reconnect
        .service(gateways::drain_gateway)                   // POST   /api/gateways/{id}/drain
        .service(gateways::undrain_gateway)                 // POST   /api/gateways/{id}/undrain
        .service(logs::read_gateway_logs)                   // GET    /api/gateways/{id}/logs
        .service(gateways::order_process)                   // POST   /api/gateways/{id}/process
        .service(gateways::read_gateway)                    // GET    /api/gateways/{id}
        .service(gateways::update_gateway_by_path)          // PUT    /api/gateways/{id}
        .service(gateways::delete_gateway_by_path)          // DELETE /api/gateways/{id}
        .service(spawn::spawn)                              // POST   /api/spawn
        .service(spawn::list_spawns)                        // GET    /api/spawn
        .service(spawn::read_spawn)                         // GET    /api/spawn/{id}
        .service(events::follow_events)                     // GET    /api/events
        .service(access::read_audit_log)                    // GET    /api/audit
        .service(socket::follow_events_over_websocket)      // GET    /api/ws
        .service(agents::list_agents)                       // GET    /api/agents
        .service(agents::create_agent)                      // POST   /api/agents
        .service(agents::sync_agents)                       // POST   /api/agents/sync
        .service(agents::read_agent)                        // GET    /api/agents/{id}
        .service(agents::update_agent)                      // PUT    /api/agents/{id}
        .service(agents::delete_agent)                      // DELETE /api/agents/{id}
        .service(agents::heartbeat)                         // POST   /api/agents/{id}/heartbeat
        .service(direct::connect_tool)                      // POST   /api/connect
        .service(direct::list_connections)                  // GET    /api/connect
        .service(direct::disconnect_tool)                   // DELETE /api/connect
        .service(direct::read_tokens)                       // GET    /api/tokens
        .service(direct::report_tokens)                     // POST   /api/tokens
        .service(sessions::list_sessions)                   // GET    /api/sessions
        .service(sessions::change_session)                  // POST   /api/sessions
        .service(sessions::delete_session)                  // DELETE /api/sessions
        .service(sessions::control_session)                 // POST   /api/sessions/{key}/control
        .service(sessions::read_session_history)            // GET    /api/sessions/{key}/history
        .service(sessions::send_session_message)            // POST   /api/sessions/{key}/message
        .service(devices::list_nodes)                       // GET    /api/nodes
        .service(devices::decide_on_device)                 // POST   /api/nodes
        .service(devices::read_identity)                    // GET    /api/identity
        .service(organization::organization_list_gateways)  // GET    /api/v1/gateways
        .service(organization::organization_create_gateway) // POST   /api/v1/gateways
        .service(status::organization_gateway_status)       // GET    /api/v1/gateways/status
        .service(status::organization_list_commands)        // GET    /api/v1/gateways/commands
        .service(organization_sessions::organization_list_sessions)        // GET  /api/v1/gateways/sessions
        .service(organization_sessions::organization_read_session)         // GET  /api/v1/gateways/sessions/{key}
        .service(organization_sessions::organization_read_session_history) // GET  /api/v1/gateways/sessions/{key}/history
        .service(organization_sessions::organization_send_session_message) // POST /api/v1/gateways/sessions/{key}/message
        .service(organization::organization_read_gateway)   // GET    /api/v1/gateways/{id}
        .service(organization::organization_update_gateway) // PATCH  /api/v1/gateways/{id}
        .service(organization::organization_delete_gateway) // DELETE /api/v1/gateways/{id}
        .service(templates::sync_gateway_templates)         // POST   /api/v1/gateways/{id}/templates/sync
        .service(access::list_keys)                         // GET    /api/keys
        .service(access::create_key)                        // POST   /api/keys
        .service(access::revoke_key)                        // DELETE /api/keys/{id}
        .service(access::read_session)                      // GET    /api/auth/session
        .service(access::make_login_link)                   // POST   /api/auth/link
        .service(access::log_in)                            // POST   /api/auth/login
        .service(access::log_out)                           // POST   /api/auth/logout
        .service(daemon::read_status)                       // GET    /api/status
        .service(cluster::read_cluster)                     // GET    /api/cluster
        .service(daemon::health)                            // GET    /health
        .service(daemon::api_health)                        // GET    /api/health
        .service(daemon::ready)                             // GET    /ready
        .service(daemon::read_metrics)                      // GET    /metrics
        .service(mcp::answer_assistant)                     // POST   /mcp
        .service(openapi::read_openapi);                    // GET    /api/openapi.json
}

/// What is routed besides: the dashboard, the pages that show the document, and the answer to everything else.
pub(crate) fn besides(config: &mut web::ServiceConfig) {
    config
        .configure(dashboard::routes)
        .service(web::redirect("/docs", "/docs/"))
        .service(openapi::pages())
        .default_service(web::to(no_such_route));
}

async fn no_such_route(app: App, request: HttpRequest) -> HttpResponse {
    app.routes.not_routed(&request)
}
