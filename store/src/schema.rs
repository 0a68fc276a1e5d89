//! The tables as diesel sees them, in the form of `diesel print_schema`. A test compares this with what the migrations make.

diesel::table! {
    agents (id) {
        id -> BigInt,
        name -> Text,
        role -> Text,
        status -> Text,
        gateway_id -> Nullable<BigInt>,
        source -> Text,
        config -> Text,
        is_gateway_main -> Bool,
        last_seen -> Nullable<BigInt>,
        last_activity -> Nullable<Text>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    api_keys (id) {
        id -> BigInt,
        name -> Text,
        role -> Text,
        sha256 -> Text,
        prefix -> Text,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    audit_log (id) {
        id -> BigInt,
        at_ms -> BigInt,
        actor_key_id -> Nullable<BigInt>,
        actor_name -> Text,
        actor_role -> Nullable<Text>,
        address -> Nullable<Text>,
        request_id -> Nullable<Text>,
        action -> Text,
        target -> Nullable<Text>,
        result -> Text,
        details -> Text,
    }
}

diesel::table! {
    device_tokens (address) {
        address -> Text,
        token -> Text,
        role -> Text,
        scopes -> Text,
        issued_at_ms -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    direct_connections (id) {
        id -> BigInt,
        agent_id -> BigInt,
        tool_name -> Text,
        tool_version -> Nullable<Text>,
        connection_id -> Text,
        status -> Text,
        last_heartbeat -> BigInt,
        metadata -> Nullable<Text>,
        created_at -> BigInt,
        disconnected_at -> Nullable<BigInt>,
        end_reason -> Nullable<Text>,
    }
}

diesel::table! {
    failed_logins (address, place) {
        address -> Text,
        place -> BigInt,
        at_ms -> BigInt,
        refused -> Bool,
    }
}

diesel::table! {
    gateways (id) {
        id -> BigInt,
        uuid -> Text,
        name -> Text,
        host -> Text,
        port -> Integer,
        token -> Nullable<Text>,
        url_token -> Nullable<Text>,
        is_primary -> Bool,
        priority -> Integer,
        labels -> Text,
        transport -> Text,
        tls -> Text,
        disable_device_pairing -> Bool,
        drained -> Bool,
        dialect -> Nullable<Text>,
        status -> Nullable<Text>,
        last_seen -> Nullable<BigInt>,
        latency -> Nullable<BigInt>,
        sessions_count -> BigInt,
        agents_count -> BigInt,
        created_at -> BigInt,
        updated_at -> BigInt,
        revision -> BigInt,
        workspace_root -> Nullable<Text>,
        gateway_agent_id -> Nullable<Text>,
        provisioning -> Bool,
        unit -> Nullable<Text>,
        command -> Nullable<Text>,
        password -> Nullable<Text>,
        held_until_ms -> Nullable<BigInt>,
        held_for_ms -> Nullable<BigInt>,
        seeded -> Bool,
        node -> Nullable<Text>,
    }
}

diesel::table! {
    health_log (id) {
        id -> BigInt,
        gateway_id -> BigInt,
        at_ms -> BigInt,
        status -> Text,
        latency_ms -> Nullable<Double>,
        latency_min_ms -> Nullable<Double>,
        latency_avg_ms -> Nullable<Double>,
        latency_max_ms -> Nullable<Double>,
        misses -> BigInt,
        error -> Nullable<Text>,
        thinned -> Bool,
        samples -> Nullable<Text>,
    }
}

diesel::table! {
    idempotency_keys (key_id, key_sha256) {
        key_id -> BigInt,
        key_sha256 -> Text,
        body_hash -> Text,
        spawn_id -> Text,
        created_at_ms -> BigInt,
    }
}

diesel::table! {
    identity (id) {
        id -> BigInt,
        seed -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    local_processes (gateway_id) {
        gateway_id -> BigInt,
        wanted -> Bool,
        pid -> Nullable<BigInt>,
        start_ticks -> Nullable<BigInt>,
        boot_id -> Nullable<Text>,
        updated_at -> BigInt,
    }
}

diesel::table! {
    meta (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    notification_episodes (destination, subject, condition) {
        destination -> Text,
        subject -> Text,
        condition -> Text,
        episode -> Text,
        began_ms -> BigInt,
        announced_ms -> BigInt,
        sequence -> BigInt,
        detail -> Text,
        subject_name -> Text,
        hold_ms -> BigInt,
    }
}

diesel::table! {
    notification_outbox (id) {
        id -> BigInt,
        notification_id -> Text,
        destination -> Text,
        subject -> Text,
        condition -> Text,
        body -> Text,
        created_at_ms -> BigInt,
        attempts -> BigInt,
        next_attempt_ms -> BigInt,
    }
}

diesel::table! {
    spawns (id) {
        id -> BigInt,
        spawn_id -> Text,
        created_at_ms -> BigInt,
        updated_at_ms -> BigInt,
        kind -> Text,
        request -> Text,
        summary -> Text,
        model -> Nullable<Text>,
        gateway_id -> Nullable<BigInt>,
        gateway_name -> Nullable<Text>,
        route -> Nullable<Text>,
        agent -> Nullable<Text>,
        label -> Nullable<Text>,
        session_key -> Nullable<Text>,
        run_id -> Nullable<Text>,
        state -> Text,
        pid -> Nullable<BigInt>,
        result -> Nullable<Text>,
        error_code -> Nullable<Text>,
        error -> Nullable<Text>,
        completed_at_ms -> Nullable<BigInt>,
        reason -> Nullable<Text>,
        key_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    token_usage (id) {
        id -> BigInt,
        at_ms -> BigInt,
        agent -> Text,
        model -> Text,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cost -> Nullable<Double>,
        session_key -> Nullable<Text>,
        source -> Text,
    }
}

diesel::table! {
    web_sessions (token_sha256) {
        token_sha256 -> Text,
        key_id -> Nullable<BigInt>,
        key_sha256 -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::joinable!(agents -> gateways (gateway_id));
diesel::joinable!(direct_connections -> agents (agent_id));
diesel::joinable!(health_log -> gateways (gateway_id));
diesel::joinable!(local_processes -> gateways (gateway_id));
diesel::joinable!(web_sessions -> api_keys (key_id));

diesel::allow_tables_to_appear_in_same_query!(
    agents,
    api_keys,
    audit_log,
    device_tokens,
    direct_connections,
    failed_logins,
    gateways,
    health_log,
    idempotency_keys,
    identity,
    local_processes,
    meta,
    notification_episodes,
    notification_outbox,
    spawns,
    token_usage,
    web_sessions,
);
