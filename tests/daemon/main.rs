//! Black-box tests: they start the real binary and talk to it as its users and its gateways do. One target, so that it links
//! once. Everything is on loopback.

#[cfg(test)]
mod support {
    pub(crate) mod background;
    pub(crate) mod chaos_proxy;
    pub(crate) mod client;
    pub(crate) mod daemon;
    pub(crate) mod dice;
    pub(crate) mod event_socket;
    pub(crate) mod event_stream;
    pub(crate) mod fake_systemd_bus;
    pub(crate) mod http;
    pub(crate) mod local_command;
    pub(crate) mod notify_socket;
    pub(crate) mod own_gateway;
    pub(crate) mod own_network;
    pub(crate) mod page_device;
    pub(crate) mod ports;
    pub(crate) mod postgres_server;
    pub(crate) mod rpc_client;
    pub(crate) mod screen;
    pub(crate) mod scripted_gateway;
    pub(crate) mod tls_front;
    pub(crate) mod wait;
    pub(crate) mod wall_clock;
    pub(crate) mod webhook_receiver;
}

#[cfg(test)]
mod agents;
#[cfg(test)]
mod care_of_data;
#[cfg(test)]
mod check;
#[cfg(test)]
mod client_commands;
#[cfg(test)]
mod client_contracts;
#[cfg(test)]
mod client_gateways;
#[cfg(test)]
mod client_processes;
#[cfg(test)]
mod client_records;
#[cfg(test)]
mod client_work;
#[cfg(test)]
mod clock_jumps;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod cut_off_requests;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod dashboard_data;
#[cfg(test)]
mod database_trouble;
#[cfg(test)]
mod direct_connections;
#[cfg(test)]
#[path = "../../embedded-gateway/tests/gateway/discord_server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod discord_server;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod documented_words;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod embedded_gateway_clock;
#[cfg(test)]
mod embedded_gateway_commands;
#[cfg(test)]
mod embedded_gateway_configuration;
#[cfg(test)]
mod embedded_gateway_cron;
#[cfg(test)]
mod embedded_gateway_dialects;
#[cfg(test)]
mod embedded_gateway_discord;
#[cfg(test)]
mod events;
#[cfg(test)]
mod health_checks;
#[cfg(test)]
mod kills_under_load;
#[cfg(test)]
mod liveness;
#[cfg(test)]
mod local_processes;
#[cfg(test)]
mod local_units;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod malformed_requests;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod not_observed;
#[cfg(test)]
mod notifications;
#[cfg(test)]
mod numbers_of_pages;
mod operations_page;
#[cfg(test)]
mod organization;
#[cfg(test)]
mod passwords;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod postgres_chaos;
#[cfg(test)]
mod postgres_clock_jumps;
#[cfg(test)]
mod postgres_kills;
#[cfg(test)]
mod postgres_mesh;
#[cfg(test)]
mod postgres_moves;
#[cfg(test)]
mod postgres_nodes;
#[cfg(test)]
mod postgres_placement;
#[cfg(test)]
mod postgres_server_trouble;
#[cfg(test)]
mod postgres_spawns;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod scripted_gateway_checks;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod socket_activation;
#[cfg(test)]
mod spawns_under_fire;
#[cfg(test)]
mod start_failures;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod up;
#[cfg(test)]
mod whatsapp;
#[cfg(test)]
mod wire_faults;
