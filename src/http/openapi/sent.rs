//! What the daemon sends by itself, as the document describes it: events (`Event`, one schema for each type) and notifications
//! (the section `webhooks`).

use gatewarden_actors::event::EventKind;
use gatewarden_actors::event_data::EventData;
use gatewarden_api::events::{
    AgentStatusData, AuditData, ConnectionCreatedData, ConnectionDisconnectedData, GatewayBlockedData,
    GatewayPrimaryData, GatewayProcessData, GatewayStatusData, GatewayVitalsData, LogData, SessionUpdateData,
    SpawnResultData,
};
use gatewarden_api::notifications::Notification;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    Discriminator, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Ref, RefOr, Required, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

type Named = (String, RefOr<Schema>);

/// Puts both into the document.
pub(super) fn put_in(document: &mut utoipa::openapi::OpenApi) {
    let mut schemas = Vec::new();
    events(&mut schemas);
    with_schemas::<Notification>(&mut schemas);
    document.components.get_or_insert_default().schemas.extend(schemas);
    document.webhooks = Some(webhooks());
}

/// The schemas of all events.
fn events(schemas: &mut Vec<Named>) {
    let all = [
        event::<GatewayStatusData>(schemas),
        event::<GatewayVitalsData>(schemas),
        event::<GatewayPrimaryData>(schemas),
        event::<GatewayBlockedData>(schemas),
        event::<GatewayProcessData>(schemas),
        event::<SessionUpdateData>(schemas),
        event::<LogData>(schemas),
        event::<AgentStatusData>(schemas),
        event::<SpawnResultData>(schemas),
        event::<ConnectionCreatedData>(schemas),
        event::<ConnectionDisconnectedData>(schemas),
        event::<AuditData>(schemas),
    ];
    let mut by_type = Discriminator::new("type");
    let mut any = OneOfBuilder::new().description(Some(
        "One event: a message of `/api/ws`, and without `id` the `data:` of a server-sent event of `/api/events`. What both \
         say of the stream itself is `StreamNotice`.",
    ));
    for (kind, name) in all {
        let reference = Ref::from_schema_name(name);
        by_type.mapping.insert(kind.as_str().to_owned(), reference.ref_location.clone());
        any = any.item(reference);
    }
    schemas.push(("Event".to_owned(), any.discriminator(Some(by_type)).into()));
    schemas.push(("StreamNotice".to_owned(), notice().into()));
}

/// What a stream says of itself, between events.
fn notice() -> ObjectBuilder {
    let kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["keepalive", "reset", "lagged"]));
    let count = |text: &str| ObjectBuilder::new().schema_type(Type::Integer).description(Some(text));
    ObjectBuilder::new()
        .description(Some(
            "A message of `/api/ws` that is no event. Of `/api/events` `type` stands in the line `event:`, and a keepalive is a comment.",
        ))
        .property("type", kind)
        .required("type")
        .property("last_id", count("With reset and keepalive: the newest event's id"))
        .property("dropped", count("With lagged: how many events were lost"))
        .property("ts", count("With keepalive: Unix milliseconds"))
}

/// The schema of events with this data, and its name.
fn event<D: EventData + ToSchema>(schemas: &mut Vec<Named>) -> (EventKind, String) {
    with_schemas::<D>(schemas);
    let data = D::name();
    let integer = |text: &str| {
        let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
        ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).description(Some(text))
    };
    let kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([D::KIND.as_str()]));
    let event = ObjectBuilder::new()
        .property(
            "id",
            integer("Grows by one; of a server-sent event it stands in the line `id:`; `gateway.vitals` has none"),
        )
        .property("type", kind)
        .required("type")
        .property("ts", integer("Unix milliseconds"))
        .required("ts")
        .property("data", Ref::from_schema_name(&*data))
        .required("data");
    let name = format!("{}Event", data.trim_end_matches("Data"));
    schemas.push((name.clone(), event.into()));
    (D::KIND, name)
}

fn with_schemas<S: ToSchema>(schemas: &mut Vec<Named>) {
    schemas.push((S::name().into_owned(), <S as PartialSchema>::schema()));
    S::schemas(schemas);
}

fn webhooks() -> Paths {
    let text = || Object::with_type(Type::String);
    let headers = [
        ("X-Gatewarden-Id", Required::True, text(), "The notification's id: the same for each attempt"),
        ("X-Gatewarden-Timestamp", Required::True, Object::with_type(Type::Integer), "Unix seconds of this attempt"),
        (
            "X-Gatewarden-Signature",
            Required::False,
            text(),
            "`v1=` and the HMAC-SHA256, in hex, of timestamp, a full stop and the body; where the destination has a secret",
        ),
    ];
    let headers = headers.map(|(name, required, schema, description)| {
        let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(required);
        header.schema(Some(schema)).description(Some(description)).build()
    });
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(&*Notification::name()))).build();
    let operation = OperationBuilder::new()
        .operation_id(Some("receive_notification"))
        .tag("Events")
        .summary(Some("A gateway fails, refuses the daemon, recovers, or another one takes over"))
        .description(Some(
            "Sent to the destinations of `[[notifications]]` in the configuration, at least once, in order for each gateway.",
        ))
        .parameters(Some(headers))
        .request_body(Some(
            RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True)).build(),
        ))
        .response("2XX", ResponseBuilder::new().description("Taken"))
        .response("default", ResponseBuilder::new().description("Not taken: tried again later"))
        .security(SecurityRequirement::default());
    let mut webhooks = Paths::new();
    webhooks.add_path_operation("notification", vec![HttpMethod::Post], operation);
    webhooks
}
